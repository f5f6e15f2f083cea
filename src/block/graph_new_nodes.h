// Graph::NewNodes: nodes that were opened and are not part of the graph yet.
//
// One node and the children that its options define. The names are taken from the beginning, so that nobody else makes
// a node of such a name meanwhile; what is not moved into the graph is closed at the end. Options that refer to no node
// of the graph are opened without the graph's lock: however long that takes, other changes go on. Thread: the control
// reactor.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "block/graph.h"

namespace blockexport::block {

class Graph::NewNodes {
 public:
  explicit NewNodes(Graph& graph) : graph_(graph) {}
  ~NewNodes();
  NewNodes(const NewNodes&) = delete;
  NewNodes& operator=(const NewNodes&) = delete;

  Graph& graph() const { return graph_; }

  // Opens a node and, with it, the children that its options define. `parent`: of which it is such a child, or null.
  // When it fails, children may have been opened. Cancelled, it fails as soon as the driver does.
  aio::Task<Result<Node*>> open(const schema::BlockdevOptions& options, const NodeOptions* parent);

  // Children first. Whoever takes them out makes them part of the graph.
  std::list<GraphNode>& nodes() { return nodes_; }

 private:
  Graph& graph_;
  std::list<GraphNode> nodes_;
  std::vector<std::string> names_;
};

}  // namespace blockexport::block
