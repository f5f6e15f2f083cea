// Bringing permissions up to date after the graph has changed.
//
// From the nodes where something changed downwards: what the users of each node use and share together, whether that
// fits together, what the node's driver therefore needs of its children, and last the drivers' own locks. Either all of
// it takes effect or none. The cost does not grow with the number of users of a node. Thread: the control reactor; one
// update at a time (the Graph sees to that).
#pragma once

#include <span>
#include <vector>

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

// Whether no path through one of `nodes` is too long. Each part of the graph was within the limit before.
Result<> check_depth(std::span<Node* const> nodes);

// `changed`: nodes whose incoming edges, driver or options have changed. On failure the edges above them are as they
// were found: taking them back is the caller's.
aio::Task<Result<>> update_permissions(std::span<Node* const> changed, std::span<const PlannedOptions> planned = {});

// The same for a node with a new edge that uses kResize in order to grow it: root edges that tolerate growth do not
// conflict with that. Their permissions stay as they are, for other processes too.
aio::Task<Result<>> update_permissions_for_growth(Node& growing);

// `node` and all that is below it.
std::vector<Node*> with_all_below(Node& node);

// `nodes`, each once, and all that is above them.
std::vector<Node*> with_all_above(std::span<Node* const> nodes);

// The root edges through which requests reach `nodes`.
std::vector<Edge*> root_edges_above(std::span<Node* const> nodes);

}  // namespace blockexport::block
