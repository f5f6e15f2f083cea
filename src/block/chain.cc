#include "block/chain.h"

#include <algorithm>

#include "block/edge.h"

namespace blockexport::block {
namespace {

template <class Condition>
Edge* first_child(Node& node, Condition condition) {
  const std::vector<Edge*> children = node.driver().children();
  auto found = std::ranges::find_if(children, [&](const Edge* child) { return condition(child->roles()); });
  return found != children.end() ? *found : nullptr;
}

Node* node_of(Edge* edge) {
  return edge != nullptr ? &edge->node() : nullptr;
}

}  // namespace

Edge* child_of_role(Node& node, ChildRole role) {
  return first_child(node, [role](ChildRoles roles) { return roles.has(role); });
}

Node* filtered_node(Node& node) {
  return node_of(child_of_role(node, ChildRole::kFiltered));
}

Node& below_filters(Node& node) {
  Node* found = &node;
  while (Node* below = filtered_node(*found)) found = below;
  return *found;
}

Node* backing_node(Node& node) {
  return node_of(child_of_role(below_filters(node), ChildRole::kBacking));
}

Node* next_in_chain(Node& node) {
  if (Node* filtered = filtered_node(node)) return filtered;
  return node_of(child_of_role(node, ChildRole::kBacking));
}

Node* image_node(Node& node) {
  return node_of(first_child(node, [](ChildRoles roles) { return roles.holds_image(); }));
}

}  // namespace blockexport::block
