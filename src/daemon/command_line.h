// CommandLine: the arguments of the program, split into options in the order in which they were given.
//
// The first of two passes: it knows the options' names and which of them need an argument, answers --help and
// --version, and finds every mistake in the form of the line before anything is made. What the arguments mean is
// startup's business. Plain values; main thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "aio/reactor.h"
#include "base/error.h"
#include "base/wiped_text.h"

namespace blockexport::daemon {

inline constexpr std::uint32_t kShutdownGraceSecondsDefault = 1;
inline constexpr std::uint32_t kShutdownGraceSecondsMax = 3600;

enum class OptionKind { kBlockdev, kChardev, kExport, kMonitor, kNbdServer, kListen, kObject, kTrace };

// One option that is carried out in the second pass.
struct StartOption {
  OptionKind kind;
  WipedText argument;
  std::string as_typed;  // the option with its argument, as it stands on the line, but no secret: for messages
};

struct CommandLine {
  std::vector<StartOption> options;
  std::optional<std::string> pidfile;
  std::optional<std::string> log_file;  // none: the log goes to standard error
  aio::BackendKind backend = aio::BackendKind::kAuto;
  std::optional<std::uint32_t> reactors;  // threads that serve clients at most; none: as the machine has processors
  // How long clients may take to take their last replies when the daemon ends.
  std::uint32_t shutdown_grace_seconds = kShutdownGraceSecondsDefault;
  bool daemonize = false;
  std::optional<int> exit_code;  // the line was answered already (--help, --version, a mistake)
};

// Prints what has to be printed, to standard output or, for mistakes, standard error. Overwrites what is secret in
// `argv`.
CommandLine parse_command_line(int argc, char** argv);

}  // namespace blockexport::daemon
