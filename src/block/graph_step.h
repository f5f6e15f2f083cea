// GraphStep: one step of a change of the block graph. A list of them takes effect as a whole or not at all
// (Graph::apply). Plain values; thread: the control reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "block/change_listener.h"
#include "block/edge.h"
#include "block/permissions.h"
#include "schema/block_core.h"

namespace blockexport::block {

// Opens a node, with the children that its options hold.
struct AddNode {
  schema::BlockdevOptions options;
};

// Removes a node that a command made and nobody uses, with those of its children that nobody else uses.
struct RemoveNode {
  std::string name;
};

// New options for nodes, and new children. One change reopens a node once.
struct ReopenNodes {
  std::vector<schema::BlockdevOptions> options;
};

// Sets the size of a node; `size_bytes` as it came in. It is the last step of its change, for it cannot be taken back.
struct ResizeNode {
  std::string name;
  std::int64_t size_bytes = 0;
};

// Gives out a root edge: a right to use the node of that name.
struct AttachEdge {
  std::string name;
  EdgeParent parent;
  Permissions permissions;
  std::unique_ptr<Edge>* attached = nullptr;  // set when the change succeeds; outlives the change
};

// Takes a root edge back. A node that no command made goes with its last edge. When the change fails, the edge is in
// `edge` again.
struct DetachEdge {
  std::unique_ptr<Edge>* edge = nullptr;  // outlives the change
};

// Moves the users of a node to another one of the same size, but for those that the other one itself works through:
// so a filter comes between a node and its users, and goes again.
struct ReplaceNode {
  std::string name;
  std::string by;
};

// Makes `listener` hear of every change of a node from now on, or no longer. Nothing is under way at that moment. The
// listener outlives its time at the node, and the node is there for as long: whoever adds one holds an edge to it.
struct AddListener {
  std::string name;
  ChangeListener* listener = nullptr;
};
struct RemoveListener {
  std::string name;
  ChangeListener* listener = nullptr;
};

using GraphStep = std::variant<AddNode, RemoveNode, ReopenNodes, ResizeNode, AttachEdge, DetachEdge, ReplaceNode,
                               AddListener, RemoveListener>;

}  // namespace blockexport::block
