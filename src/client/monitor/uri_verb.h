// `blockexport uri`: the URIs by which clients reach the exports of a running daemon.
//
// Main thread; it blocks until the daemon has answered.
#pragma once

#include <string>

#include "base/error.h"
#include "client/monitor/backup_verbs.h"

namespace blockexport::monitor {

struct UriOptions {
  MonitorOptions monitor;
  std::string export_name;  // "": all exports
  std::string server;       // "": all servers
};

// Prints a URI in each line; for all exports with the export's name behind it. Error: no server shows the export.
Result<> print_uris(const UriOptions& options);

}  // namespace blockexport::monitor
