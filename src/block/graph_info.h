// Replies of the query commands about the graph. These functions change nothing. Thread: the control reactor.
#pragma once

#include <vector>

#include "block/graph.h"
#include "schema/block_node_info.h"
#include "schema/block_stats.h"

namespace blockexport::block {

// For query-named-block-nodes: newest first.
aio::Task<std::vector<schema::BlockDeviceInfo>> named_block_nodes(Graph& graph);

// For query-blockstats with query-nodes.
std::vector<schema::BlockStats> block_statistics(const Graph& graph);

// For x-debug-query-block-graph.
schema::XDbgBlockGraph block_graph(const Graph& graph);

}  // namespace blockexport::block
