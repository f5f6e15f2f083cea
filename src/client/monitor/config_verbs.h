// `blockexport config show`, `config diff` and `reload`: the configuration of a running daemon.
//
// Main thread; they block until the daemon has answered. They print to standard output; errors are returned.
#pragma once

#include "base/error.h"
#include "client/monitor/backup_verbs.h"

namespace blockexport::monitor {

struct ReloadOptions {
  MonitorOptions monitor;
  bool is_dry_run = false;
  bool is_disruptive = false;
};

// Prints a line for each object: section and ID, its maker with the place in the files, and its drift.
Result<> show_configuration(const MonitorOptions& options);
// Reloads, or only compares in a dry run, and prints a line for each difference.
Result<> reload_configuration(const ReloadOptions& options);

}  // namespace blockexport::monitor
