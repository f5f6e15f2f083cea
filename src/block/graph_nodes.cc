// The steps of a change that add, remove, resize and replace nodes.
#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <ranges>

#include "block/attached_store.h"
#include "block/chain.h"
#include "block/graph_change.h"
#include "block/loaded_bitmaps.h"
#include "block/node_store.h"

namespace blockexport::block {

class Graph::Addition final : public Graph::Work {
 public:
  explicit Addition(AddNode step) : step_(std::move(step)) {}

  bool opens_before(Graph& graph) const override {
    return !graph.closing_ && step_.options.node_name && !refers_to_nodes(step_.options);
  }

  aio::Task<Result<>> open(Graph& graph) override {
    nodes_.emplace(graph);
    CO_TRY(co_await nodes_->open(step_.options, nullptr, nullptr));
    co_return Result<>();
  }

  aio::Task<Result<>> prepare(Change& change) override {
    if (change.graph().closing_) co_return fail(closing_error());
    if (!step_.options.node_name) co_return fail("'node-name' must be specified for the root node");
    if (!nodes_) CO_TRY(co_await open(change.graph()));
    Node& node = *nodes_->nodes().back().node;
    for (const GraphNode& one : nodes_->nodes()) {
      new_nodes_.push_back(one.node.get());
      if (NodeStore* store = one.node->bitmaps().store()) stores_.push_back(store);
    }
    change.add_nodes(*nodes_);
    change.set_owned_by_user(node, true);
    change.note_deeper(node);
    co_return Result<>();
  }

  aio::Task<Result<>> confirm(Change&) override {
    for (Node* node : new_nodes_) CO_TRY(co_await confirm_store(*node, node->read_only()));
    co_return Result<>();
  }

  aio::Task<void> commit(Change& change) override {
    for (NodeStore* store : stores_) store->start();
    for (Node* node : new_nodes_) co_await begin_using_image_bitmaps(*node, change.graph().log_);
  }

 private:
  AddNode step_;
  std::vector<NodeStore*> stores_;
  std::vector<Node*> new_nodes_;
  std::optional<NewNodes> nodes_;
};

class Graph::Removal final : public Graph::Work {
 public:
  explicit Removal(RemoveNode step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    const std::string& name = step_.name;
    GraphNode* found = change.graph().entry(name);
    if (found == nullptr) co_return fail(fmt::format("Failed to find node with node-name='{}'", name));
    for (Edge& edge : found->node->parents()) {
      if (edge.is_root()) co_return fail(fmt::format("Node {} is in use", name));
    }
    CO_TRY(check_is_not_backing(*found->node));
    if (!found->owned_by_user) co_return fail(fmt::format("Node {} is not owned by the monitor", name));
    if (!found->node->parents().empty()) co_return fail(fmt::format("Block device {} is in use", name));
    aio::Task<Result<>> flushing = flush(*found->node);
    CO_TRY(co_await change.let_others_look(std::move(flushing)));
    change.set_owned_by_user(*found->node, false);
    co_await change.withdraw_if_unused(*found->node);
    co_return Result<>();
  }

 private:
  // The flush of what an image has changed may take long, and so may storing its bitmaps. The removal does not depend
  // on the outcome; what is left to store is stored when the node goes, which also logs a failure.
  static aio::Task<Result<>> flush(Node& node) {
    (void)co_await node.flush();
    (void)co_await store_image_bitmaps(node, nullptr);
    co_return Result<>();
  }

  RemoveNode step_;
};

class Graph::Resizing final : public Graph::Work {
 public:
  explicit Resizing(ResizeNode step) : step_(std::move(step)) {}

  bool must_be_last() const override { return true; }

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(node_, change.graph().lookup(step_.name));
    if (step_.size_bytes < 0) co_return fail("Parameter 'size' expects a >0 size");
    CO_TRY(check_is_not_backing(*node_));
    right_ = std::make_unique<Edge>(*node_, EdgeParent{.name = "root", .description = std::string(kUnnamedUser)},
                                    Permissions{.used = Permission::kResize});
    if (size_bytes() >= node_->size_bytes()) {
      change.grow(*node_);
    } else {
      change.note_changed(*node_);
    }
    co_return Result<>();
  }

  aio::Task<Result<>> perform(Change& change) override {
    // Their drivers decide which nodes below are resized with it.
    const std::vector<Node*> below = with_all_below(*node_);
    co_await change.quiesce_above(below);
    std::list<SizedNode> nodes;
    for (Node* node : children_first_above(below)) nodes.emplace_back(*node);
    aio::Task<Result<>> resizing = node_->resize(size_bytes());
    Result<> resized = co_await change.let_others_look(std::move(resizing));
    for (SizedNode& one : nodes) {
      if (resized) one.tell_if_it_follows();
      // If that fails, the store goes on to expect both sizes.
      if (NodeStore* store = one.node().bitmaps().store()) (void)co_await store->adopt_size(one.node().size_bytes());
    }
    co_return resized;
  }

  aio::Task<void> commit(Change& change) override {
    give_up_right(change);
    // Only releases the permission to resize, which cannot fail.
    auto update = PermissionUpdate::plan({.nodes = {node_}});
    if (update && co_await (*update)->prepare()) co_await (*update)->commit();
  }

  aio::Task<void> abort(Change& change) override {
    give_up_right(change);
    co_return;
  }

 private:
  // A node while others are resized. It tells the node's listeners if the node is not resized itself, but its size
  // follows that of a node below.
  class SizedNode final : public ChangeListener {
   public:
    explicit SizedNode(Node& node) : node_(node), bytes_(node.size_bytes()) { node_.add_listener(*this); }
    ~SizedNode() { node_.remove_listener(*this); }
    SizedNode(const SizedNode&) = delete;
    SizedNode& operator=(const SizedNode&) = delete;

    Node& node() const { return node_; }
    void resized(std::uint64_t, std::uint64_t) override { is_told_ = true; }
    void tell_if_it_follows() const {
      if (!is_told_) node_.tell_resized(bytes_);
    }

   private:
    Node& node_;
    std::uint64_t bytes_;
    bool is_told_ = false;
  };

  void give_up_right(Change& change) {
    change.forget_edge(*right_);
    right_.reset();
  }
  std::uint64_t size_bytes() const { return static_cast<std::uint64_t>(step_.size_bytes); }

  ResizeNode step_;
  Node* node_ = nullptr;
  std::unique_ptr<Edge> right_;
};

class Graph::Replacement final : public Graph::Work {
 public:
  explicit Replacement(ReplaceNode step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(Node * node, change.graph().lookup(step_.name));
    CO_TRY_ASSIGN(by_, find_successor(change, *node));
    if (node == by_) co_return fail(fmt::format("Cannot replace '{}' by itself", step_.name));
    if (node->size_bytes() != by_->size_bytes() && !step_.allows_other_size) {
      co_return fail(fmt::format("Cannot replace '{}' by '{}': they have {} and {} bytes", step_.name, by_->name(),
                                 node->size_bytes(), by_->size_bytes()));
    }
    Node* const both[] = {node, by_};
    co_await change.quiesce_above(both);
    // A user of the old node that does not move to the new one gets its writes flushed first.
    if (IoResult flushed = co_await node->flush(); !flushed) {
      co_return fail(Error::system(fmt::format("Error flushing node '{}'", step_.name), flushed.error()));
    }
    CO_TRY(move_users(change, *node));
    change.note_deeper(*by_);
    co_await change.withdraw_if_unused(*node);
    co_return Result<>();
  }

  aio::Task<void> commit(Change&) override {
    Node* const changed[] = {by_};
    for (Node* above : children_first_above(changed)) above->refresh_limits();
    co_return;
  }

 private:
  Result<Node*> find_successor(Change& change, Node& node) const {
    if (step_.by) return change.graph().lookup(*step_.by);
    if (Node* filtered = filtered_node(node)) return filtered;
    return fail(fmt::format("Node '{}' is no filter", node.name()));
  }

  // All edges except those through which `by_` uses the node.
  Result<> move_users(Change& change, Node& node) {
    std::vector<Edge*> users;
    const std::vector<Node*> below = with_all_below(*by_);
    for (Edge& edge : node.parents()) {
      if (edge.parent().keeps_bitmap) continue;
      if (edge.is_root() || std::ranges::find(below, edge.parent().node) == below.end()) users.push_back(&edge);
    }
    for (Edge* edge : users) {
      Node* parent = edge->parent().node;
      if (parent != nullptr) TRY(change.check_not_frozen(*parent, *edge));
      change.move_edge(*edge, *by_);
      if (parent == nullptr) continue;
      change.note_changed(*parent);
      schema::BlockdevOptions options = change.graph().about(*parent).options;
      if (set_child_reference(options, edge->name(), by_->name())) change.set_options(*parent, std::move(options));
    }
    return {};
  }

  ReplaceNode step_;
  Node* by_ = nullptr;
};

class Graph::Emptying final : public Graph::Work {
 public:
  aio::Task<Result<>> prepare(Change& change) override {
    std::vector<Node*> unused;
    for (GraphNode& each : change.graph().nodes_ | std::views::reverse) {
      change.set_owned_by_user(*each.node, false);
      if (each.node->parents().empty()) unused.push_back(each.node.get());
    }
    for (Node* node : unused) co_await change.withdraw_if_unused(*node);
    co_return Result<>();
  }
};

std::unique_ptr<Graph::Work> Graph::work_of(AddNode step) {
  return std::make_unique<Addition>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(RemoveNode step) {
  return std::make_unique<Removal>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(ResizeNode step) {
  return std::make_unique<Resizing>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(ReplaceNode step) {
  return std::make_unique<Replacement>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of_closing() {
  return std::make_unique<Emptying>();
}

}  // namespace blockexport::block
