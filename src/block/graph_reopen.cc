// Step of a change that reopens nodes with new options and children.
#include <fmt/format.h>

#include <list>
#include <unordered_map>
#include <unordered_set>

#include "block/graph_change.h"
#include "block/loaded_bitmaps.h"
#include "block/reopen_children.h"
#include "block/store_reopening.h"

namespace blockexport::block {
namespace {

// True if `target` is `from` or below it.
bool reaches(Node& from, const Node& target) {
  std::vector<Node*> to_visit{&from};
  std::unordered_set<Node*> seen{&from};
  while (!to_visit.empty()) {
    Node* node = to_visit.back();
    to_visit.pop_back();
    if (node == &target) return true;
    for (Edge* child : node->driver().children()) {
      if (seen.insert(&child->node()).second) to_visit.push_back(&child->node());
    }
  }
  return false;
}

}  // namespace

class Graph::Reopening final : public Graph::Work {
 public:
  explicit Reopening(ReopenNodes step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override;
  aio::Task<Result<>> confirm(Change& change) override;
  aio::Task<void> commit(Change& change) override;
  aio::Task<void> abort(Change& change) override;

 private:
  class NewChildren;
  struct Item {
    Node* node;
    const schema::BlockdevOptions* options;
    Node* parent;      // the parent of an inline child, or null
    ChildRoles roles;  // of an inline child
    NodeOptions node_options;
  };

  // Finds the nodes, and their inline children whose options are members of theirs.
  Result<> plan(Change& change);
  void plan_node(Graph& graph, Node& node, const schema::BlockdevOptions& options, Node* parent, ChildRoles roles);
  bool is_planned(const Node& node) const;
  aio::Task<Result<>> prepare_all(Change& change);
  aio::Task<Result<>> prepare_item(Change& change, Item& item);
  Result<> prepare_children(Change& change, const Item& item);
  Result<> prepare_child(Change& change, const Item& item, Edge& edge);
  static Result<Node*> find_target(Graph& graph, Node& parent, const std::string& name, std::string_view child_name);
  // The options that an inline child inherits.
  std::optional<NodeOptions> inherited_by(const Item& item) const;

  ReopenNodes step_;
  std::vector<Item> items_;
  std::unordered_map<const Node*, std::size_t> item_numbers_;
  std::size_t prepared_ = 0;
  std::list<StoreReopening> stores_;  // of the first items
  std::vector<Node*> left_;           // nodes that have lost users to other nodes
};

// The children that one driver gets and gives up.
class Graph::Reopening::NewChildren final : public ReopenChildren {
 public:
  NewChildren(Reopening& reopening, Change& change, Node& node) : reopening_(reopening), change_(change), node_(node) {}

  Result<std::unique_ptr<Edge>> add_child(const schema::BlockdevRef& reference, std::string_view name,
                                          ChildRoles roles) override {
    if (reference.definition() != nullptr) return fail(fmt::format("Cannot change the option '{}.driver'", name));
    TRY_ASSIGN(Node * target, find_target(change_.graph(), node_, *reference.reference(), name));
    EdgeParent parent{.name = std::string(name),
                      .description = fmt::format("node '{}'", node_.name()),
                      .node = &node_,
                      .roles = roles};
    auto edge = std::make_unique<Edge>(*target, std::move(parent), Permissions{});
    change_.note_added(*edge);
    return edge;
  }

  void drop_child(Edge& edge) override {
    if (allowed_) allowed_ = change_.check_not_frozen(node_, edge);
    reopening_.left_.push_back(&edge.node());
    change_.withdraw_edge(edge);
  }

  const std::string& node_name() const override { return node_.name(); }

  // Fails if the driver has given up a child that must stay.
  Result<> take_allowed() { return std::move(allowed_); }

 private:
  Reopening& reopening_;
  Change& change_;
  Node& node_;
  Result<> allowed_;
};

// The node of that name, unless `parent` is among what stands below it.
Result<Node*> Graph::Reopening::find_target(Graph& graph, Node& parent, const std::string& name,
                                            std::string_view child_name) {
  TRY_ASSIGN(Node * target, graph.lookup(name));
  if (reaches(*target, parent)) {
    return fail(fmt::format("Making '{}' a {} child of '{}' would create a cycle", name, child_name, parent.name()));
  }
  return target;
}

bool Graph::Reopening::is_planned(const Node& node) const {
  return item_numbers_.contains(&node);
}

void Graph::Reopening::plan_node(Graph& graph, Node& node, const schema::BlockdevOptions& options, Node* parent,
                                 ChildRoles roles) {
  item_numbers_.emplace(&node, items_.size());
  items_.push_back({&node, &options, parent, roles, {}});
  for (Edge* edge : node.driver().children()) {
    const std::optional<ChildReference> after = child_reference(options, edge->name());
    const std::optional<ChildReference> before = child_reference(graph.entry(node).options, edge->name());
    if (!after || !before || after->definition == nullptr || before->definition == nullptr) continue;
    if (!is_planned(edge->node())) plan_node(graph, edge->node(), *after->definition, &node, edge->roles());
  }
}

Result<> Graph::Reopening::plan(Change& change) {
  Graph& graph = change.graph();
  for (const schema::BlockdevOptions& one : step_.options) {
    if (!one.node_name) return fail("node-name not specified");
    Node* node = graph.find(*one.node_name);
    if (node == nullptr) return fail(fmt::format("Failed to find node with node-name='{}'", *one.node_name));
    if (!is_planned(*node)) plan_node(graph, *node, one, nullptr, {});
  }
  for (const Item& item : items_) {
    if (change.has_planned(*item.node)) {
      return fail(fmt::format("Node '{}' is reopened twice in one change", item.node->name()));
    }
  }
  return {};
}

aio::Task<Result<>> Graph::Reopening::prepare(Change& change) {
  CO_TRY(plan(change));
  std::vector<Node*> nodes;
  for (const Item& item : items_) nodes.push_back(item.node);
  co_await change.quiesce_above(nodes);
  Result<> result = co_await prepare_all(change);
  if (!result) {
    co_await abort(change);
    co_return result;
  }
  for (const Item& item : items_) {
    change.plan_options(*item.node, item.node_options);
    change.set_options(*item.node, *item.options);
    change.note_deeper(*item.node);
  }
  for (Node* node : left_) co_await change.withdraw_if_unused(*node);
  co_return Result<>();
}

aio::Task<Result<>> Graph::Reopening::prepare_all(Change& change) {
  for (const Item& item : items_) {
    if (IoResult flushed = co_await item.node->flush(); !flushed) {
      co_return fail(Error::system("Error flushing drive", flushed.error()));
    }
  }
  for (Item& item : items_) CO_TRY(co_await prepare_item(change, item));
  co_return Result<>();
}

std::optional<NodeOptions> Graph::Reopening::inherited_by(const Item& item) const {
  if (item.parent == nullptr) return std::nullopt;
  // A parent is planned before its children.
  return inherited_options(items_[item_numbers_.at(item.parent)].node_options, item.roles);
}

aio::Task<Result<>> Graph::Reopening::prepare_item(Change& change, Item& item) {
  const schema::BlockdevOptions& before = change.graph().entry(*item.node).options;
  if (before.driver() != item.options->driver()) co_return fail("Cannot change the option 'driver'");
  // An inline child is identified by its position in the options.
  if (item.parent != nullptr && item.options->node_name && *item.options->node_name != item.node->name()) {
    co_return fail("Cannot change the option 'node-name'");
  }
  if (item.options->force_share.value_or(false) != before.force_share.value_or(false)) {
    co_return fail("Cannot change the option 'force-share'");
  }
  const std::optional<NodeOptions> inherited = inherited_by(item);
  CO_TRY_ASSIGN(item.node_options, node_options_of(*item.options, inherited ? &*inherited : nullptr));
  CO_TRY(prepare_children(change, item));
  NewChildren children(*this, change, *item.node);
  CO_TRY(co_await item.node->driver().prepare_reopen(before, *item.options, item.node_options, children));
  prepared_++;
  CO_TRY(children.take_allowed());
  // The driver can write to the image until the commit.
  if (item.node_options.read_only) CO_TRY(co_await store_image_bitmaps(*item.node, nullptr));
  StoreReopening store(*item.node);
  CO_TRY(co_await store.prepare({change.graph().control_, change.graph().log_}, before.bitmap_store,
                                item.options->bitmap_store, item.node_options.read_only));
  stores_.push_back(std::move(store));
  co_return Result<>();
}

aio::Task<Result<>> Graph::Reopening::confirm(Change&) {
  for (StoreReopening& store : stores_) CO_TRY(co_await store.confirm());
  co_return Result<>();
}

Result<> Graph::Reopening::prepare_children(Change& change, const Item& item) {
  for (Edge* edge : item.node->driver().children()) TRY(prepare_child(change, item, *edge));
  return {};
}

Result<> Graph::Reopening::prepare_child(Change& change, const Item& item, Edge& edge) {
  Graph& graph = change.graph();
  const std::optional<ChildReference> reference = child_reference(*item.options, edge.name());
  if (!reference) return {};
  if (reference->definition != nullptr) {
    const std::optional<ChildReference> before = child_reference(graph.entry(*item.node).options, edge.name());
    if (before && before->definition != nullptr) return {};
    return fail(fmt::format("Cannot change the option '{}.driver'", edge.name()));
  }
  TRY_ASSIGN(Node * target, find_target(graph, *item.node, *reference->node, edge.name()));
  if (target == &edge.node()) return {};
  TRY(change.check_not_frozen(*item.node, edge));
  left_.push_back(&edge.node());
  change.move_edge(edge, *target);
  return {};
}

aio::Task<void> Graph::Reopening::commit(Change& change) {
  std::vector<Node*> changed;
  for (Item& item : items_) {
    changed.push_back(item.node);
    co_await item.node->driver().commit_reopen();
    item.node->set_options(item.node_options);
    // Flushes while cache.no-flush was on have made nothing durable.
    item.node->require_flush();
    follow_read_only(*item.node);
  }
  for (Node* above : children_first_above(changed)) {
    above->refresh_limits();
    above->bitmaps().catch_up(above->size_bytes());
    if (NodeStore* store = above->bitmaps().store()) {
      (void)co_await store->adopt_size(above->size_bytes());
      co_await store->check_image();
    }
  }
  for (StoreReopening& store : stores_) {
    if (store.is_dropping()) change.forget_store(store.store());
    co_await store.commit();
  }
  for (const Item& item : items_) co_await begin_using_image_bitmaps(*item.node, change.graph().log_);
}

aio::Task<void> Graph::Reopening::abort(Change& change) {
  for (StoreReopening& store : stores_) {
    if (store.is_adding()) change.forget_store(store.store());
    co_await store.abort();
  }
  stores_.clear();
  while (prepared_ > 0) co_await items_[--prepared_].node->driver().abort_reopen();
}

std::unique_ptr<Graph::Work> Graph::work_of(ReopenNodes step) {
  return std::make_unique<Reopening>(std::move(step));
}

}  // namespace blockexport::block
