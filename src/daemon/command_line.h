// CommandLine: parser of the program's arguments into options, in their order.
//
// The first of two passes: it knows the options' names and which of them need an argument, handles --help and
// --version, and finds every syntax error before anything is created. Startup interprets the arguments. Plain values;
// main thread.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "aio/reactor/reactor.h"
#include "base/error.h"
#include "base/wiped_text.h"
#include "daemon/log_options.h"
#include "daemon/sandbox.h"

namespace blockexport::daemon {

inline constexpr std::uint32_t kShutdownGraceSecondsDefault = 1;
inline constexpr std::uint32_t kShutdownGraceSecondsMax = 3600;

enum class OptionKind { kBlockdev, kChardev, kExport, kMonitor, kNbdServer, kListen, kMetrics, kObject, kTrace };

// True if threads without an iothread object poll for a short time before they sleep. kAuto: where that pays.
enum class Polling { kAuto, kOff };

// One option that the second pass executes.
struct StartOption {
  OptionKind kind;
  WipedText argument;
  std::string as_typed;  // the option with its argument as typed, without secrets: for messages
};

// The rule for names inside images: a word, or directories, or neither.
struct ImageReferenceOptions {
  std::optional<std::string> rule;  // "allow" or "deny"
  std::vector<std::string> directories;
};

struct CommandLine {
  std::vector<StartOption> options;
  std::optional<std::string> pidfile;
  LogOptions log;
  SandboxOptions sandbox;
  std::optional<std::string> user;  // NAME or NAME:GROUP, which the process becomes
  aio::BackendKind backend = aio::BackendKind::kAuto;
  std::optional<std::uint32_t> reactors;  // most threads that serve clients; nothing: one per processor
  Polling polling = Polling::kAuto;
  ImageReferenceOptions image_references;
  // Time that clients have to receive their last replies when the daemon ends.
  std::uint32_t shutdown_grace_seconds = kShutdownGraceSecondsDefault;
  bool daemonize = false;
  std::optional<std::string> config;  // the main configuration file
  bool check_config = false;          // check it and exit
  bool deep = false;                  // open its images and credentials during that check
  // The options of the section daemon of a configuration that the line has itself, as "log.level" and "sandbox". They
  // have priority.
  std::set<std::string> given = {};
  bool configures_pam = false;   // the configuration has an authz-pam object
  std::optional<int> exit_code;  // set when the program shall end with it (--help, --version, an error)
};

// Parses the line. Prints help and version to standard output, and errors to standard error. Overwrites secrets in
// `argv`.
CommandLine parse_command_line(int argc, char** argv);

}  // namespace blockexport::daemon
