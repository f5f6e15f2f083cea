// Inventory: the exports of a running daemon and the nodes that they export, as its replies tell.
//
// Plain values; the queries block until the daemon has answered. Main thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "client/monitor/monitor_client.h"
#include "json/value.h"

namespace blockexport::operate {

struct NodeState {
  std::string name = {};
  std::string driver = {};
  std::string filename = {};
  std::optional<std::uint64_t> size_bytes = {};
  bool is_read_only = false;
};

struct ExportState {
  std::string id;
  std::string type;
  bool is_shutting_down = false;
  NodeState node;  // only its name, if the daemon does not tell more
};

// From the replies to query-block-exports, which lists the newest first, and query-named-block-nodes; the oldest export
// comes first.
std::vector<ExportState> exports_in(const json::Value& exports, const json::Value& nodes);
std::vector<NodeState> nodes_in(const json::Value& nodes);

Result<std::vector<ExportState>> query_exports(monitor::MonitorClient& client);
Result<std::vector<NodeState>> query_nodes(monitor::MonitorClient& client);

// The export of that ID. An error with a suggestion when there is none.
Result<ExportState> find_export(monitor::MonitorClient& client, std::string_view id);

// Runs a command that other daemons, or older ones, lack: the error says that this one does.
Result<json::Value> execute_if_known(monitor::MonitorClient& client, const std::string& command,
                                     json::Object arguments);

}  // namespace blockexport::operate
