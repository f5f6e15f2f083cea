// Edge: a parent's right to use a node: what it may do with it, and the gate that stops it while the graph changes.
//
// Owned by the parent: another node's driver, an export or a job. Requests of the outside
// world go through the gate of the root edge they come in by; drivers forward to their children without one, so that
// closing the root edges above a node makes everything below them quiet.
// Thread: enter(), try_enter(), leave() and node() on any reactor; all else on the control reactor.
#pragma once

#include <string>

#include "aio/task.h"
#include "base/errno.h"
#include "base/intrusive_list.h"
#include "block/child_roles.h"
#include "block/permissions.h"
#include "block/request_gate.h"

namespace blockexport::block {

class Node;

// Who holds an edge, as messages and listings name it.
struct EdgeParent {
  std::string name = {};         // "root", or the schema's name of the child: "file", "backing", ...
  std::string description = {};  // "node 'disk'", "an unnamed block device", ...
  Node* node = nullptr;          // null for a root edge
  // Its holder does not share resizing, yet the node may grow: what the holder knows of the size stays true.
  bool tolerates_growth = false;
  ChildRoles roles = {};  // of a child; none for a root edge
};

class Edge : public ListLink<Edge> {
 public:
  // Attached to `node` from birth. The permissions have been checked by the Graph.
  Edge(Node& node, EdgeParent parent, Permissions permissions);
  ~Edge();
  Edge(const Edge&) = delete;
  Edge& operator=(const Edge&) = delete;

  Node& node() const { return *node_; }
  const EdgeParent& parent() const { return parent_; }
  const std::string& name() const { return parent_.name; }
  ChildRoles roles() const { return parent_.roles; }
  bool is_root() const { return parent_.node == nullptr; }

  const Permissions& permissions() const { return permissions_; }
  void set_permissions(Permissions permissions);

  // A node's driver opens its children before the node exists, which is told to them afterwards.
  void set_parent_node(Node& parent) { parent_.node = &parent; }

  // --- as steps of a change of the graph (Graph::apply), while nobody is inside ---

  // A reopen may change what the parent takes from the child.
  void set_roles(ChildRoles roles) { parent_.roles = roles; }

  // Moves it to another node, as the youngest of that node's parents.
  void attach(Node& node);
  // Takes it from its node's parents; node() stays what it is. Not linked: destroy it, or attach_before().
  void withdraw();
  // The next younger parent of its node; null when it is the youngest.
  Edge* next_parent();
  // Puts it among the parents of `node` again, before `next` (null: as the youngest).
  void attach_before(Node& node, Edge* next);

  // --- the gate ---
  bool is_open() const { return gate_.is_open(); }
  // True: inside, and leave() is owed. What the path that never waits uses.
  bool try_enter() { return gate_.try_enter(); }
  // Waits while the edge is quiesced. ECANCELED: not inside.
  aio::Task<IoResult> enter() { return gate_.enter(); }
  void leave() { gate_.leave(); }

  // Stops new requests and waits until none is inside. May be nested; each has its resume().
  aio::Task<void> quiesce() { return gate_.close(); }
  void resume() { gate_.open(); }

 private:
  Node* node_;
  EdgeParent parent_;
  Permissions permissions_;
  RequestGate gate_;
};

}  // namespace blockexport::block
