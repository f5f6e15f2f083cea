// blockdev-add, blockdev-del, blockdev-reopen, block_resize.

#include <fmt/format.h>

#include "control/control.h"
#include "control/export.h"
#include "schema/block_core_commands.h"

namespace blockexport::control {
namespace {

// The exports whose requests reach `node`, directly or through nodes above it.
void collect_exports(Control& control, block::Node& node, std::vector<block::Edge*>& edges) {
  for (block::Edge& edge : node.parents()) {
    if (edge.is_root()) {
      edges.push_back(&edge);
    } else {
      collect_exports(control, *edge.parent().node, edges);
    }
  }
}

}  // namespace

aio::Task<Result<>> blockdev_add(Control& control, schema::BlockdevOptions arguments) {
  co_return co_await control.graph().add(std::move(arguments));
}

aio::Task<Result<>> blockdev_del(Control& control, schema::BlockdevDelArguments arguments) {
  co_return co_await control.graph().remove(std::move(arguments.node_name));
}

aio::Task<Result<>> blockdev_reopen(Control& control, schema::BlockdevReopenArguments arguments) {
  co_return co_await control.graph().reopen(std::move(arguments.options));
}

aio::Task<Result<>> block_resize(Control& control, schema::BlockResizeArguments arguments) {
  std::string device = arguments.device.value_or("");
  block::Node* node = control.graph().find(arguments.node_name.value_or(""));
  if (node == nullptr) {
    co_return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", device, arguments.node_name.value_or("")));
  }
  // An export forbids that its size changes, because a client that is told one never learns of another. Growing does
  // no harm to it: for that the exports look away, and clients that connect later see the new size.
  std::vector<block::Edge*> looking_away;
  if (arguments.size > 0 && static_cast<std::uint64_t>(arguments.size) >= node->size_bytes()) {
    collect_exports(control, *node, looking_away);
  }
  for (block::Edge* edge : looking_away) {
    block::Permissions permissions = edge->permissions();
    permissions.shared = block::PermissionSet::all();
    CO_TRY(co_await control.graph().change_permissions(*edge, permissions));
  }
  Result<> resized = co_await control.graph().resize(node->name(), arguments.size);
  for (block::Edge* edge : looking_away) {
    block::Permissions permissions = edge->permissions();
    permissions.shared = permissions.shared - block::Permission::kResize;
    (void)co_await control.graph().change_permissions(*edge, permissions);
  }
  co_return resized;
}

}  // namespace blockexport::control
