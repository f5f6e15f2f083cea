// PermissionUpdate: update of the permissions of nodes and edges after a change of the graph.
//
// It works downwards from the changed nodes: first the combined permissions of each node's users, then conflicts
// between them, then the permissions that the node's driver needs of its children, and last the drivers' own locks. The
// cost does not depend on the number of users of a node. Thread: the control reactor; one update at a time, which the
// Graph ensures.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"

namespace blockexport::block {

// The new options of a node after the update; for a reopen.
struct PlannedOptions {
  Node* node = nullptr;
  NodeOptions options;
};

// Maximum length of a path from a root edge down. A request uses stack for every node of its path.
inline constexpr std::size_t kGraphDepthMax = 256;

// True if no path through one of `nodes` is too long. Each part of the graph was within the limit before.
Result<> check_depth(std::span<Node* const> nodes);

// A change of the graph, as input of an update of permissions.
struct PermissionChange {
  // Nodes whose parent edges, driver or options have changed. The graph has its new form already.
  std::vector<Node*> nodes = {};
  std::vector<PlannedOptions> planned = {};
  // A node with a new edge that uses kResize in order to grow it, or null: root edges that tolerate growth do not
  // conflict with that. Their permissions stay the same, for other processes too.
  Node* growing = nullptr;
};

// An update in three phases: plan() calls no driver; prepare() makes the drivers lock the union of the old and new
// permissions; then commit() or abort() releases the surplus, which cannot fail. Without a prepare(), destroying it has
// no effect.
class PermissionUpdate {
 public:
  // Fails when users of a node conflict, or write to a read-only node.
  static Result<std::unique_ptr<PermissionUpdate>> plan(PermissionChange change);
  virtual ~PermissionUpdate() = default;

  // Fails with the error of the driver that cannot get its locks; all drivers have their former locks then.
  virtual aio::Task<Result<>> prepare() = 0;
  // Puts the new permissions of the nodes and edges into effect.
  virtual aio::Task<void> commit() = 0;
  // Restores the former locks of the drivers.
  virtual aio::Task<void> abort() = 0;
};

// `node` and all nodes below it.
std::vector<Node*> with_all_below(Node& node);

// `nodes`, each once, and all nodes above them.
std::vector<Node*> with_all_above(std::span<Node* const> nodes);

// The same, each before, or after, all of its children among them.
std::vector<Node*> parents_first_above(std::span<Node* const> nodes);
std::vector<Node*> children_first_above(std::span<Node* const> nodes);

// The root edges through which requests reach `nodes`.
std::vector<Edge*> root_edges_above(std::span<Node* const> nodes);

}  // namespace blockexport::block
