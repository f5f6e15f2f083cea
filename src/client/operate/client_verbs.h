// `blockexport clients` and `kick`: the clients of a running daemon.
//
// Main thread; they block until the daemon has answered. They print to standard output; errors are returned.
#pragma once

#include <string>

#include "base/error.h"
#include "client/monitor/backup_verbs.h"

namespace blockexport::operate {

struct ClientsOptions {
  monitor::MonitorOptions monitor = {};
  std::string export_id = {};  // empty: of all exports
};

struct KickOptions {
  monitor::MonitorOptions monitor = {};
  std::string client = {};  // its number, also with a '#' before it; empty: chosen by the others alone
  std::string identity = {};
  std::string export_id = {};
};

// Prints a line for each client.
Result<> print_clients(const ClientsOptions& options);
// Disconnects the clients that match all that is given. An error when there is none.
Result<> kick_clients(const KickOptions& options);

}  // namespace blockexport::operate
