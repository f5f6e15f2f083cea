// What the query commands tell about the graph. Nothing here changes anything. Thread: the control reactor.
#pragma once

#include <vector>

#include "block/graph.h"
#include "schema/block_node_info.h"
#include "schema/block_stats.h"

namespace blockexport::block {

// query-named-block-nodes: the newest first.
aio::Task<std::vector<schema::BlockDeviceInfo>> named_block_nodes(Graph& graph);

// query-blockstats with query-nodes.
std::vector<schema::BlockStats> block_statistics(const Graph& graph);

// x-debug-query-block-graph.
schema::XDbgBlockGraph block_graph(const Graph& graph);

}  // namespace blockexport::block
