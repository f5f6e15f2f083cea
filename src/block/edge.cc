#include "block/edge.h"

#include <utility>

#include "block/node.h"

namespace blockexport::block {

Edge::Edge(Node& node, EdgeParent parent, Permissions permissions)
    : node_(&node), parent_(std::move(parent)), permissions_(permissions) {
  node_->parents().push_back(*this);
  node_->permission_totals().add(permissions_);
}

Edge::~Edge() {
  node_->permission_totals().remove(permissions_);
  unlink();
}

void Edge::set_permissions(Permissions permissions) {
  node_->permission_totals().remove(permissions_);
  permissions_ = permissions;
  node_->permission_totals().add(permissions_);
}

void Edge::attach(Node& node) {
  node_->permission_totals().remove(permissions_);
  unlink();
  node_ = &node;
  node_->parents().push_back(*this);
  node_->permission_totals().add(permissions_);
}

}  // namespace blockexport::block
