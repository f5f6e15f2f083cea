// `blockexport qmp`: runs a QMP command of a running daemon, with arguments as a command line has them.
//
// Main thread; it blocks until the daemon has answered.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "client/monitor/backup_verbs.h"

namespace blockexport::monitor {

struct QmpOptions {
  MonitorOptions monitor;
  std::string command;
  std::vector<std::string> words;  // NAME=VALUE each, or one JSON object, or "help"
};

// Prints the daemon's value as JSON; with "help" the arguments of the command.
Result<> run_qmp(const QmpOptions& options);

}  // namespace blockexport::monitor
