#include "client/operate/inventory.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/printable.h"
#include "base/similar_text.h"
#include "client/monitor/reply.h"

namespace blockexport::operate {

using monitor::count_of;
using monitor::elements_of;
using monitor::flag_of;
using monitor::object_of;
using monitor::text_of;

std::vector<NodeState> nodes_in(const json::Value& nodes) {
  std::vector<NodeState> states;
  for (const json::Value& one : elements_of(nodes)) {
    const json::Object* const node = one.as_object();
    if (node == nullptr) continue;
    NodeState state{.name = std::string(text_of(*node, "node-name")),
                    .driver = std::string(text_of(*node, "drv")),
                    .filename = std::string(text_of(*node, "file")),
                    .size_bytes = {},
                    .is_read_only = flag_of(*node, "ro")};
    if (const json::Object* const image = object_of(*node, "image")) {
      state.size_bytes = count_of(*image, "virtual-size");
    }
    states.push_back(std::move(state));
  }
  return states;
}

std::vector<ExportState> exports_in(const json::Value& exports, const json::Value& nodes) {
  std::map<std::string, NodeState> by_name;
  for (NodeState& node : nodes_in(nodes)) by_name.emplace(node.name, std::move(node));
  std::vector<ExportState> states;
  for (const json::Value& one : elements_of(exports)) {
    const json::Object* const entry = one.as_object();
    if (entry == nullptr) continue;
    ExportState state{.id = std::string(text_of(*entry, "id")),
                      .type = std::string(text_of(*entry, "type")),
                      .is_shutting_down = flag_of(*entry, "shutting-down"),
                      .node = {.name = std::string(text_of(*entry, "node-name"))}};
    if (const auto found = by_name.find(state.node.name); found != by_name.end()) state.node = found->second;
    states.push_back(std::move(state));
  }
  std::ranges::reverse(states);
  return states;
}

Result<std::vector<NodeState>> query_nodes(monitor::MonitorClient& client) {
  TRY_ASSIGN(const json::Value nodes, client.execute("query-named-block-nodes", {{"flat", true}}));
  return nodes_in(nodes);
}

Result<std::vector<ExportState>> query_exports(monitor::MonitorClient& client) {
  TRY_ASSIGN(const json::Value exports, client.execute("query-block-exports", {}));
  TRY_ASSIGN(const json::Value nodes, client.execute("query-named-block-nodes", {{"flat", true}}));
  return exports_in(exports, nodes);
}

Result<ExportState> find_export(monitor::MonitorClient& client, std::string_view id) {
  TRY_ASSIGN(std::vector<ExportState> exports, query_exports(client));
  std::vector<std::string_view> known;
  for (ExportState& state : exports) {
    if (state.id == id) return std::move(state);
    known.push_back(state.id);
  }
  Error error(fmt::format("There is no export '{}'", printable(id)));
  if (const std::string hint = suggest_similar(id, known); !hint.empty()) {
    return fail(std::move(error).with_hint(monitor::escaped(hint)));
  }
  return fail(std::move(error).with_hint("`blockexport exports` lists the exports."));
}

Result<json::Value> execute_if_known(monitor::MonitorClient& client, const std::string& command,
                                     json::Object arguments) {
  Result<json::Value> value = client.execute(command, std::move(arguments));
  if (value || value.error().kind() != ErrorKind::kCommandNotFound) return value;
  return fail(Error(ErrorKind::kCommandNotFound, fmt::format("The daemon has no command '{}'", command))
                  .with_hint("It is an older blockexportd, or another program with a QMP monitor."));
}

}  // namespace blockexport::operate
