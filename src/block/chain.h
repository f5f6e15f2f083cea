// Functions that walk down a chain of nodes by the roles of their children.
//
// Thread: the control reactor, or any reactor for a caller inside the gate of an edge above.
#pragma once

#include "block/child_roles.h"
#include "block/node.h"

namespace blockexport::block {

// The first child of that role; null when there is none.
Edge* child_of_role(Node& node, ChildRole role);

// The child whose bytes a filter shows; null when `node` is no filter.
Node* filtered_node(Node& node);

// The first node from `node` down that is no filter.
Node& below_filters(Node& node);

// The node that supplies the bytes which `node` and the filters above it do not contain; null at the end of a chain.
Node* backing_node(Node& node);

// The next node of the chain: the child that a filter shows, or else the backing node; null at the end.
Node* next_in_chain(Node& node);

// The first child that contains the image of `node`, in whole or in part; null for a driver without one.
Node* image_node(Node& node);

}  // namespace blockexport::block
