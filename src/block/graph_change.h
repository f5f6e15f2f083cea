// Graph::Change: execution of a list of steps, and Graph::Work: the interface of each kind of step.
//
// All works are prepared in order, and each sees the graph as the earlier ones left it. Then the permissions are
// requested once for all of them. If anything fails until then, a journal of the edits undoes everything in reverse
// order. The following commit cannot fail. Graph::apply makes it, and it holds the graph's lock, so that only this
// change adds or removes nodes and root edges. Thread: the control reactor.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <unordered_set>
#include <variant>
#include <vector>

#include "block/graph.h"
#include "block/graph_new_nodes.h"
#include "block/permission_update.h"

namespace blockexport::block {

class NodeStore;

class Graph::Work {
 public:
  Work() = default;
  virtual ~Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  // True if open() must be called before the change begins. Only for the first works of a list.
  virtual bool opens_before(Graph&) const { return false; }
  // Slow work that needs no lock of the graph. Can be cancelled.
  virtual aio::Task<Result<>> open(Graph& graph);
  // All work that can fail, as edits of the change, which can undo them. Everything else is undone by abort(), or by a
  // prepare() that fails.
  virtual aio::Task<Result<>> prepare(Change& change) = 0;
  // Only for the last step: work that can fail and cannot be undone, after the permissions were granted.
  virtual aio::Task<Result<>> perform(Change& change);
  // Checks that can fail and that need the permissions to be in effect. They change nothing.
  virtual aio::Task<Result<>> confirm(Change& change);
  virtual aio::Task<void> commit(Change& change);
  virtual aio::Task<void> abort(Change& change);
  virtual bool must_be_last() const { return false; }
  // Returns true if requests may go on once everything is prepared, even if the work is undone afterwards.
  virtual bool lets_requests_go() const { return false; }
};

class Graph::Change {
 public:
  Change(Graph& graph, std::vector<std::unique_ptr<Work>> works, aio::Mutex::Guard lock)
      : graph_(graph), works_(std::move(works)), lock_(std::move(lock)) {}
  // Ends the change, and opens the edges that it quiesced. Called once.
  aio::Task<Result<>> run();
  // The number of the work whose preparation has failed; nullopt when none has.
  std::optional<std::size_t> failed_work() const { return failed_work_; }

  // --- for works in prepare() ---
  Graph& graph() { return graph_; }
  // Stops the requests of the root edges above `nodes`, and then the background I/O of the drivers from there down to
  // `nodes`, until the change has ended.
  aio::Task<void> quiesce_above(std::span<Node* const> nodes);
  // Runs work that may take long and leaves nodes and edges as they are. If it is the only step of the change, queries
  // run meanwhile; other changes wait.
  aio::Task<Result<>> let_others_look(aio::Task<Result<>> work);
  // In confirm(): lets the requests go on that quiesce_above() stopped, if no other work of the change needs them to
  // wait.
  void let_requests_go();
  // Reports that its parent edges, driver or options have changed.
  void note_changed(Node& node) { changed_.push_back(&node); }
  // The same, and reports that the number of nodes above or below it may have grown.
  void note_deeper(Node& node);
  void plan_options(Node& node, const NodeOptions& options);
  bool has_planned(const Node& node) const;
  // Fails if the edge from `parent` to its child must stay as it is.
  Result<> check_not_frozen(const Node& parent, const Edge& edge) const;
  void grow(Node& node) { growing_ = &node; }

  // Keeps the checkpoints of a bitmap store from storing bits that this change may restore, until it has ended.
  aio::Task<Result<>> pause_checkpoints(NodeStore& store);
  // A bitmap store is about to be destroyed.
  void forget_store(const NodeStore* store) { paused_stores_.erase(store); }

  // --- edits, which the journal can undo ---
  // Adds them to the graph. The drivers' background I/O begins when the change has succeeded.
  void add_nodes(NewNodes& added);
  void set_owned_by_user(Node& node, bool owned);
  void set_options(Node& node, schema::BlockdevOptions options);
  void move_edge(Edge& edge, Node& to);
  // Gives the bitmaps of a quiesced node its size. ENOMEM: nothing has changed.
  IoResult resize_bitmaps(Node& node);
  // Its node has one user less, but still exists.
  void withdraw_edge(Edge& edge);
  // The name leads to no node any more; queries show the node under a generated one.
  void release_name(Node& node);
  // Notes an edge that a driver owns and destroys when the change fails, in any order: no edit refers to it.
  void note_added(const Edge& edge) { added_edges_.insert(&edge); }
  // A root edge is about to be destroyed: opens it if it was quiesced, and drops it.
  void forget_edge(Edge& edge);
  // Removes a node from the graph if it has no user and no command made it; then does the same for each of its
  // children.
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
    bool had_name;
  };
  struct NameReleased {
    Place place;
  };
  struct BitmapsResized {
    // Of each bitmap that gets another size, the bits that it had.
    std::vector<std::pair<DirtyBitmap*, std::unique_ptr<DirtyBits>>> before;
  };
  using Edit = std::variant<NodesAdded, OwnerSet, OptionsSet, EdgeMoved, NodeWithdrawn, NameReleased, BitmapsResized>;

  aio::Task<Result<>> prepare();
  aio::Task<Result<>> finish(Result<> prepared);
  aio::Task<Result<>> take_permissions();
  aio::Task<Result<>> confirm_and_perform();
  aio::Task<void> commit();
  aio::Task<void> abort();
  aio::Task<void> quiesce(Node& node);
  void note_quiesced(Node& node);
  // Lets the requests go that drivers hold back from `node` down.
  void drain_below(Node& node);
  void forget_node(Node& node) {
    quiesced_nodes_left_.erase(&node);
    draining_.erase(&node);
  }
  void resume_all();
  std::vector<Node*> those_that_stay(const std::vector<Node*>& nodes) const;
  Edge* next_parent_that_stays(Edge& edge) const;
  void undo_to(std::size_t journal_size);
  void undo(NodesAdded& edit);
  void undo(OwnerSet& edit);
  void undo(OptionsSet& edit);
  void undo(EdgeMoved& edit);
  void undo(NodeWithdrawn& edit);
  void undo(NameReleased& edit);
  void undo(BitmapsResized& edit);

  Graph& graph_;
  std::vector<std::unique_ptr<Work>> works_;
  std::optional<aio::Mutex::Guard> lock_;   // of the graph
  std::vector<std::size_t> journal_sizes_;  // before each prepared work
  std::vector<Edit> journal_;
  std::unordered_set<Edge*> quiesced_;
  std::vector<Node*> quiesced_nodes_;  // parents first; without those that were removed since
  std::unordered_set<const Node*> quiesced_nodes_left_;
  std::unordered_set<Node*> draining_;  // between begin_drain() and end_drain()
  std::vector<Node*> changed_;
  std::vector<Node*> deeper_;
  std::vector<PlannedOptions> planned_;
  Node* growing_ = nullptr;
  std::map<const NodeStore*, aio::Mutex::Guard> paused_stores_;
  std::unordered_set<const Edge*> added_edges_;  // for comparison only: they may be gone
  std::vector<Place> withdrawn_;                 // parents first
  std::unordered_set<const Node*> withdrawn_nodes_;
  std::unique_ptr<PermissionUpdate> permissions_;
  std::optional<std::size_t> failed_work_;
};

// Fails when the node is the backing node of another one.
Result<> check_is_not_backing(Node& node);

}  // namespace blockexport::block
