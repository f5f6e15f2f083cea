// Bringing permissions up to date after the graph has changed.
//
// From the nodes where something changed downwards: what the users of each node use and share together, whether that
// fits together, what the node's driver therefore needs of its children, and last the drivers' own locks. Either all of
// it takes effect or none. Thread: the control reactor; one update at a time (the Graph sees to that).
#pragma once

#include <span>

#include "aio/task.h"
#include "base/error.h"
#include "block/node.h"

namespace blockexport::block {

// What a node's options will be when the update has succeeded; for a reopen.
struct PlannedOptions {
  Node* node = nullptr;
  NodeOptions options;
};

// No path from a root edge down is longer. Requests pass every node of it, each on the stack of the one above.
inline constexpr std::size_t kGraphDepthMax = 256;

// `changed`: nodes whose incoming edges, driver or options have changed. On failure the edges above them are as they
// were found: taking them back is the caller's.
aio::Task<Result<>> update_permissions(std::span<Node* const> changed, std::span<const PlannedOptions> planned = {});

}  // namespace blockexport::block
