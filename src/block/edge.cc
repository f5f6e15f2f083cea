#include "block/edge.h"

#include <cassert>
#include <utility>

#include "block/node.h"

namespace blockexport::block {

Edge::Edge(Node& node, EdgeParent parent, Permissions permissions)
    : node_(&node), parent_(std::move(parent)), permissions_(permissions) {
  node_->parents().push_back(*this);
  node_->permission_totals().add(permissions_);
}

Edge::~Edge() {
  if (linked()) withdraw();
}

void Edge::set_permissions(Permissions permissions) {
  assert(linked());
  node_->permission_totals().remove(permissions_);
  permissions_ = permissions;
  node_->permission_totals().add(permissions_);
}

void Edge::attach(Node& node) {
  if (linked()) withdraw();
  node_ = &node;
  node_->parents().push_back(*this);
  node_->permission_totals().add(permissions_);
}

void Edge::withdraw() {
  assert(linked());
  node_->permission_totals().remove(permissions_);
  unlink();
}

Edge* Edge::next_parent() {
  assert(linked());
  IntrusiveList<Edge>::Iterator next(this);
  ++next;
  return next == node_->parents().end() ? nullptr : &*next;
}

void Edge::attach_before(Node& node, Edge* next) {
  attach(node);
  // The parents from `next` on go behind it.
  while (next != nullptr) {
    Edge* following = next->next_parent();
    next->unlink();
    node.parents().push_back(*next);
    next = following == this ? nullptr : following;
  }
}

}  // namespace blockexport::block
