// `blockexport clients` and `kick`: the clients of a running daemon.
//
// Main thread; they block until the daemon has answered. They print to standard output; errors are returned.
#pragma once

#include <optional>
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
  std::optional<std::string> ban = {};  // a time such as "90", "60s", "10m", "2h" or "7d"
};

// Prints a line for each client.
Result<> print_clients(const ClientsOptions& options);
// Disconnects the clients that match all that is given, and bans them. An error when there is none, unless an identity
// is banned.
Result<> kick_clients(const KickOptions& options);

}  // namespace blockexport::operate
