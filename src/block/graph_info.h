// Replies of the query commands about the graph. These functions change nothing. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "block/graph.h"
#include "schema/block_node_info.h"
#include "schema/block_stats.h"

namespace blockexport::block {

// For query-named-block-nodes: newest first.
enum class BackingImages : bool { kLeftOut, kIncluded };
aio::Task<std::vector<schema::BlockDeviceInfo>> named_block_nodes(Graph& graph, BackingImages backing_images);

// Bytes of storage that a node takes; nothing when that is unknown, or there is no node of that name.
aio::Task<std::optional<std::uint64_t>> allocated_bytes(Graph& graph, std::string name);

// For query-blockstats with query-nodes.
std::vector<schema::BlockStats> block_statistics(const Graph& graph);

// For x-debug-query-block-graph.
schema::XDbgBlockGraph block_graph(const Graph& graph);

}  // namespace blockexport::block
