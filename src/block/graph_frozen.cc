// Links of the graph that a change must leave as they are: those from a copy-on-read node down to its bottom node.
#include <fmt/format.h>

#include "block/chain.h"
#include "block/graph_change.h"
#include "schema/block_core.h"

namespace blockexport::block {

Result<> Graph::Change::check_not_frozen(const Node& parent, const Edge& edge) const {
  for (const GraphNode& one : graph_.nodes_) {
    const auto* options = std::get_if<schema::BlockdevOptionsCor>(&one.options.branch);
    if (options == nullptr || !options->bottom) continue;
    for (Node* node = one.node.get(); node != nullptr && node->name() != *options->bottom;) {
      Node* next = next_in_chain(*node);
      if (node == &parent && next == &edge.node()) {
        return fail(fmt::format("Cannot change frozen '{}' link from '{}' to '{}'", edge.name(), parent.name(),
                                edge.node().name()));
      }
      node = next;
    }
  }
  return {};
}

}  // namespace blockexport::block
