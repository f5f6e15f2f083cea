// `blockexport ping`, `status` and `exports`: the state of a running daemon.
//
// Main thread; they block until the daemon has answered. They print to standard output; errors are returned.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "client/monitor/backup_verbs.h"

namespace blockexport::operate {

// Time that `ping` waits for the daemon, in seconds.
inline constexpr std::uint32_t kPingTimeoutSecondsDefault = 5;

// Prints the program's name and version: the health check of a container.
Result<> ping(const monitor::MonitorOptions& options);
// Prints a line for each kind of thing that the daemon has.
Result<> print_status(const monitor::MonitorOptions& options);
// Prints a line for each export, the oldest first.
Result<> print_exports(const monitor::MonitorOptions& options);

}  // namespace blockexport::operate
