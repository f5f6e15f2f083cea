// Commands query-named-block-nodes, query-block, query-blockstats and x-debug-query-block-graph.

#include "block/graph_info.h"
#include "control/core/control.h"
#include "schema/block_node_info_commands.h"
#include "schema/block_stats_commands.h"

namespace blockexport::control {

aio::Task<Result<std::vector<schema::BlockDeviceInfo>>> query_named_block_nodes(
    Control& control, schema::QueryNamedBlockNodesArguments arguments) {
  const auto backing_images =
      arguments.flat.value_or(false) ? block::BackingImages::kLeftOut : block::BackingImages::kIncluded;
  co_return co_await block::named_block_nodes(control.graph(), backing_images);
}

aio::Task<Result<std::vector<schema::BlockInfo>>> query_block(Control&, schema::QueryBlockArguments) {
  // The command lists only devices of guests, and there are none.
  co_return std::vector<schema::BlockInfo>{};
}

aio::Task<Result<std::vector<schema::BlockStats>>> query_blockstats(Control& control,
                                                                    schema::QueryBlockstatsArguments arguments) {
  if (!arguments.query_nodes.value_or(false)) co_return std::vector<schema::BlockStats>{};
  co_return block::block_statistics(control.graph());
}

aio::Task<Result<schema::XDbgBlockGraph>> x_debug_query_block_graph(Control& control) {
  co_return block::block_graph(control.graph());
}

}  // namespace blockexport::control
