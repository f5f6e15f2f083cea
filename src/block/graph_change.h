// Graph::Change: a list of steps while it takes effect, and Graph::Work: what each kind of step does for it.
//
// All works are prepared in order; each sees the graph as those before it left it. Then permissions are asked for once,
// for all of them. What failed by then is undone in reverse order, by a journal of the edits that were made. What
// follows, committing, cannot fail. Made by Graph::apply, which holds the graph's lock meanwhile, so that no node and
// no root edge comes or goes but by this change. Thread: the control reactor.
#pragma once

#include <memory>
#include <unordered_set>
#include <variant>
#include <vector>

#include "block/graph.h"
#include "block/graph_new_nodes.h"
#include "block/permission_update.h"

namespace blockexport::block {

class Graph::Work {
 public:
  Work() = default;
  virtual ~Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  // Whether open() is to come before the change begins. Only of the first works of a list.
  virtual bool opens_before(Graph&) const { return false; }
  // What can be done, and takes long, without the graph's lock. Can be cancelled.
  virtual aio::Task<Result<>> open(Graph& graph);
  // Does all that can fail, by edits of the change, which undoes them. What else there is to undo is undone by abort(),
  // or by a prepare() that fails.
  virtual aio::Task<Result<>> prepare(Change& change) = 0;
  // Only of the last step: what can fail and cannot be undone, when the permissions are there.
  virtual aio::Task<Result<>> perform(Change& change);
  virtual aio::Task<void> commit(Change& change);
  virtual aio::Task<void> abort(Change& change);
  virtual bool must_be_last() const { return false; }
};

class Graph::Change {
 public:
  Change(Graph& graph, std::vector<std::unique_ptr<Work>> works) : graph_(graph), works_(std::move(works)) {}
  // When it ends, the edges that were quiesced are open again. Once.
  aio::Task<Result<>> run();

  // --- for works that prepare ---
  Graph& graph() { return graph_; }
  // Stops the requests of the root edges above `nodes`, and then the I/O of the drivers from there down to `nodes`,
  // until the change has ended.
  aio::Task<void> quiesce_above(std::span<Node* const> nodes);
  // Its parent edges, driver or options have changed.
  void note_changed(Node& node) { changed_.push_back(&node); }
  // The same, and there may be more nodes above or below it than before.
  void note_deeper(Node& node);
  void plan_options(Node& node, const NodeOptions& options);
  bool has_planned(const Node& node) const;
  void grow(Node& node) { growing_ = &node; }

  // --- edits, which the journal undoes ---
  // Makes them part of the graph. I/O that their drivers do by themselves begins when the change has succeeded.
  void add_nodes(NewNodes& added);
  void set_owned_by_user(Node& node, bool owned);
  void set_options(Node& node, schema::BlockdevOptions options);
  void move_edge(Edge& edge, Node& to);
  // Its node has one user less, but is there still.
  void withdraw_edge(Edge& edge);
  // A root edge is about to be destroyed: it is opened if it was quiesced, and not touched again.
  void forget_edge(Edge& edge);
  // Takes a node out of the graph if nobody uses it and no command made it; then likewise each of its children.
  aio::Task<void> withdraw_if_unused(Node& node);

 private:
  struct NodesAdded {
    std::size_t count_before;
  };
  struct OwnerSet {
    Node* node;
    bool before;
  };
  struct OptionsSet {
    Node* node;
    schema::BlockdevOptions before;
  };
  struct EdgeMoved {
    Edge* edge;
    Node* before;
    Edge* next;
  };
  struct NodeWithdrawn {
    Place place;
  };
  using Edit = std::variant<NodesAdded, OwnerSet, OptionsSet, EdgeMoved, NodeWithdrawn>;

  aio::Task<Result<>> prepare();
  aio::Task<Result<>> finish(Result<> prepared);
  aio::Task<Result<>> take_permissions();
  aio::Task<void> commit();
  aio::Task<void> abort();
  aio::Task<void> quiesce(Node& node);
  void note_quiesced(Node& node);
  void forget_node(const Node& node) { quiesced_nodes_left_.erase(&node); }
  void resume_all();
  std::vector<Node*> those_that_stay(const std::vector<Node*>& nodes) const;
  void undo_to(std::size_t journal_size);
  void undo(NodesAdded& edit);
  void undo(OwnerSet& edit);
  void undo(OptionsSet& edit);
  void undo(EdgeMoved& edit);
  void undo(NodeWithdrawn& edit);

  Graph& graph_;
  std::vector<std::unique_ptr<Work>> works_;
  std::vector<std::size_t> journal_sizes_;  // before each work that is prepared
  std::vector<Edit> journal_;
  std::unordered_set<Edge*> quiesced_;
  std::vector<Node*> quiesced_nodes_;  // parents first; those that are gone since are not in the set any more
  std::unordered_set<const Node*> quiesced_nodes_left_;
  std::vector<Node*> changed_;
  std::vector<Node*> deeper_;
  std::vector<PlannedOptions> planned_;
  Node* growing_ = nullptr;
  std::vector<Place> withdrawn_;  // parents first
  std::unique_ptr<PermissionUpdate> permissions_;
};

}  // namespace blockexport::block
