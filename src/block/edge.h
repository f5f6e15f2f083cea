// Edge: use of a node by a parent: its permissions, and the gate that stops its requests while the graph changes.
//
// Owned by the parent: a driver of another node, an export or a job. External requests pass the gate of the root edge
// through which they come; drivers forward to their children without a gate, so closing the root edges above a node
// quiesces everything below them.
// Thread: enter(), try_enter(), leave() and node() on any reactor; everything else on the control reactor.
#pragma once

#include <string>

#include "aio/task/task.h"
#include "base/errno.h"
#include "base/intrusive_list.h"
#include "block/child_roles.h"
#include "block/permissions.h"
#include "block/request_gate.h"

namespace blockexport::block {

class Node;

// The holder of an edge, for messages and listings.
struct EdgeParent {
  std::string name = {};         // "root", or the name of the child in the schema: "file", "backing", ...
  std::string description = {};  // as "node 'disk'" or "an unnamed block device"
  Node* node = nullptr;          // null for a root edge
  // The holder does not share resizing, but tolerates growth, which breaks no promise about the size that it made.
  bool tolerates_growth = false;
  // The edge keeps a node because of its bitmap: it stays at that node when other users are moved away, and listings of
  // the graph leave it out.
  bool keeps_bitmap = false;
  ChildRoles roles = {};  // of a child; empty for a root edge
};

class Edge : public ListLink<Edge> {
 public:
  // Attached to `node` from its construction. The Graph has checked the permissions.
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

  // A driver opens its children before its node exists; this sets the node afterwards.
  void set_parent_node(Node& parent) { parent_.node = &parent; }

  // --- for steps of a change of the graph (Graph::apply), while no request is inside ---

  // A reopen may change the roles of the child.
  void set_roles(ChildRoles roles) { parent_.roles = roles; }

  // Moves it to another node, as the youngest of that node's parents.
  void attach(Node& node);
  // Removes it from its node's parents; node() does not change. Afterwards destroy it, or call attach_before().
  void withdraw();
  // The next younger parent of its node; null when it is the youngest.
  Edge* next_parent();
  // Adds it to the parents of `node` again, before `next` (null: as the youngest).
  void attach_before(Node& node, Edge* next);

  // --- the gate ---
  bool is_open() const { return gate_.is_open(); }
  // True: the request is inside, and must leave(). For the path that never waits.
  bool try_enter() { return gate_.try_enter(); }
  // Waits while the edge is quiesced. After ECANCELED the request is not inside.
  aio::Task<IoResult> enter() { return gate_.enter(); }
  void leave() { gate_.leave(); }

  // Stops new requests and waits until none is inside. May be nested; each call needs a resume().
  aio::Task<void> quiesce() { return gate_.close(); }
  void resume() { gate_.open(); }

 private:
  Node* node_;
  EdgeParent parent_;
  Permissions permissions_;
  RequestGate gate_;
};

}  // namespace blockexport::block
