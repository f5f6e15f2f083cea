// PermissionUpdate: brings the permissions of nodes and edges up to date with a change of the graph.
//
// It goes from the nodes that changed downwards: the permissions that the users of each node use and share together,
// conflicts between them, the permissions that the node's driver therefore needs of its children, and last the drivers'
// own locks. The cost does not grow with the number of users of a node. Thread: the control reactor; one update at a
// time (the Graph sees to that).
#pragma once

#include <memory>
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

// A change of the graph as an update of permissions sees it.
struct PermissionChange {
  // Nodes whose parent edges, driver or options have changed. The graph is already as it will be.
  std::vector<Node*> nodes = {};
  std::vector<PlannedOptions> planned = {};
  // A node with a new edge that uses kResize in order to grow it, or null: root edges that tolerate growth do not
  // conflict with that. Their permissions stay as they are, for other processes too.
  Node* growing = nullptr;
};

// An update in three phases: plan() asks nobody; prepare() asks the drivers for all that they held and will hold; then
// commit() or abort() gives the surplus up, which cannot fail. Destroyed without a prepare() it has changed nothing.
class PermissionUpdate {
 public:
  // Fails when users of a node are in conflict, or write to a read-only node.
  static Result<std::unique_ptr<PermissionUpdate>> plan(PermissionChange change);
  virtual ~PermissionUpdate() = default;

  // Fails with the error of the driver that cannot have its locks; all drivers' locks are then as they were.
  virtual aio::Task<Result<>> prepare() = 0;
  // The new permissions are those of the nodes and edges from now on.
  virtual aio::Task<void> commit() = 0;
  // The drivers' locks are those of before.
  virtual aio::Task<void> abort() = 0;
};

// `node` and all that is below it.
std::vector<Node*> with_all_below(Node& node);

// `nodes`, each once, and all that is above them.
std::vector<Node*> with_all_above(std::span<Node* const> nodes);

// The same, each before, or after, all of its children among them.
std::vector<Node*> parents_first_above(std::span<Node* const> nodes);
std::vector<Node*> children_first_above(std::span<Node* const> nodes);

// The root edges through which requests reach `nodes`.
std::vector<Edge*> root_edges_above(std::span<Node* const> nodes);

}  // namespace blockexport::block
