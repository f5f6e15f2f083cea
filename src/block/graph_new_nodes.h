// Graph::NewNodes: nodes that were opened and are not part of the graph yet.
//
// A node, and the children that its options define. It reserves their names from the beginning, so that no other node
// gets them meanwhile; the destructor closes the nodes that were not moved into the graph. Options that refer
// to no node of the graph are opened without the graph's lock, so a slow opening does not delay other changes. Thread:
// the control reactor.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "block/graph.h"
#include "block/opening_place.h"

namespace blockexport::block {

class Graph::NewNodes {
 public:
  explicit NewNodes(Graph& graph) : graph_(graph) {}
  ~NewNodes();
  NewNodes(const NewNodes&) = delete;
  NewNodes& operator=(const NewNodes&) = delete;

  Graph& graph() const { return graph_; }

  // Opens a node and the children that its options define. `parent`: the parent of an inline child, or null. After a
  // failure, some children may be open. A cancelled call fails as soon as the driver does.
  // `place`: null unless an image names the node, or one above it.
  aio::Task<Result<Node*>> open(const schema::BlockdevOptions& options, const NodeOptions* parent,
                                const OpeningPlace* place);

  // Counts one more name inside an image. An error when there are too many.
  Result<> count_reference();

  // Children first. The caller adds them to the graph.
  std::list<GraphNode>& nodes() { return nodes_; }

 private:
  Graph& graph_;
  std::list<GraphNode> nodes_;
  std::vector<std::string> names_;
  std::size_t references_ = 0;
};

}  // namespace blockexport::block
