// `blockexport __complete`: words that complete a command line, from the state of a running daemon.
//
// Main thread; it waits kCompleteTimeoutSeconds at most for each answer of the daemon, as somebody waits at a shell.
#pragma once

#include <cstdint>
#include <string>

#include "client/monitor/backup_verbs.h"

namespace blockexport::operate {

inline constexpr std::uint32_t kCompleteTimeoutSeconds = 1;
// Most words that are printed.
inline constexpr std::size_t kCompletionWordsMax = 10'000;

struct CompleteOptions {
  monitor::MonitorOptions monitor = {};
  std::string kind = {};  // "exports", "nodes" or "clients"
};

// Prints a line for each ID, node name or client number. Prints nothing when no daemon answers; a word with control
// bytes is left out, as a shell would run its lines.
void print_completions(const CompleteOptions& options);

}  // namespace blockexport::operate
