// The options that all commands with a running daemon share, for the files that define commands with CLI11.
//
// `options` outlives the parsing. Main thread.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "client/monitor/backup_verbs.h"

namespace blockexport::client {

inline void add_monitor(CLI::App* command, monitor::MonitorOptions& options) {
  // CLI11's own support of environment variables would also change `options` for a command that was not given.
  const char* const path = std::getenv("BLOCKEXPORT_MONITOR");
  if (path != nullptr && *path != '\0') options.path = path;
  command->add_option("--monitor", options.path,
                      "The unix socket of the daemon's QMP monitor (default: $BLOCKEXPORT_MONITOR, else "
                      "/run/blockexport/qmp.sock)");
  command->add_option("--timeout", options.timeout_seconds, "Seconds to wait for the daemon (default: 120)")
      ->check(CLI::Range(1u, monitor::kTimeoutSecondsMax));
}

}  // namespace blockexport::client
