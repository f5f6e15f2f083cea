#include "block/edge.h"

#include <utility>

#include "block/node.h"

namespace blockexport::block {

Edge::Edge(Node& node, EdgeParent parent, Permissions permissions)
    : node_(&node), parent_(std::move(parent)), permissions_(permissions) {
  node_->parents().push_back(*this);
}

Edge::~Edge() {
  unlink();
}

void Edge::attach(Node& node) {
  unlink();
  node_ = &node;
  node_->parents().push_back(*this);
}

}  // namespace blockexport::block
