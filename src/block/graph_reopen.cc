// Graph::reopen: new options for nodes, and new children, for all of them or for none.
#include <fmt/format.h>

#include <ranges>
#include <unordered_map>
#include <unordered_set>

#include "block/graph.h"
#include "block/permission_update.h"

namespace blockexport::block {
namespace {

// Whether `target` is `from` or below it.
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

std::vector<Edge*> parents_of(Node& node) {
  std::vector<Edge*> parents;
  for (Edge& edge : node.parents()) parents.push_back(&edge);
  return parents;
}

// `parents` are all of the node's.
void restore_order(Node& node, const std::vector<Edge*>& parents) {
  for (Edge* edge : parents) {
    edge->unlink();
    node.parents().push_back(*edge);
  }
}

}  // namespace

class Graph::Reopening {
 public:
  explicit Reopening(Graph& graph) : graph_(graph) {}

  // Finds the nodes, and with each the inline children whose options are part of its own. `options` outlive this.
  Result<> plan(const std::vector<schema::BlockdevOptions>& options);
  aio::Task<Result<>> execute();

 private:
  struct Item {
    Node* node;
    const schema::BlockdevOptions* options;
    Node* parent;  // of which it is an inline child, or null
    NodeOptions node_options;
  };
  struct Switch {
    Edge* edge;
    Node* before;
    std::vector<Edge*> parents;  // of `before`, in their order
  };

  void plan_node(Node& node, const schema::BlockdevOptions& options, Node* parent);
  bool is_planned(const Node& node) const;
  aio::Task<Result<>> prepare(Item& item);
  Result<> prepare_children(const Item& item);
  Result<> prepare_child(const Item& item, Edge& edge);
  const NodeOptions* options_of_parent(const Item& item) const;
  aio::Task<Result<>> prepare_all();
  aio::Task<void> commit();
  aio::Task<void> abort();

  Graph& graph_;
  std::vector<Item> items_;
  std::unordered_map<const Node*, std::size_t> item_numbers_;
  std::size_t prepared_ = 0;
  std::vector<Switch> switches_;
};

bool Graph::Reopening::is_planned(const Node& node) const {
  return item_numbers_.contains(&node);
}

void Graph::Reopening::plan_node(Node& node, const schema::BlockdevOptions& options, Node* parent) {
  item_numbers_.emplace(&node, items_.size());
  items_.push_back({&node, &options, parent, {}});
  for (Edge* edge : node.driver().children()) {
    const schema::BlockdevRef* after = child_reference(options, edge->role());
    const schema::BlockdevRef* before = child_reference(graph_.entry(node).options, edge->role());
    if (after == nullptr || before == nullptr || after->definition() == nullptr || before->definition() == nullptr) {
      continue;
    }
    if (!is_planned(edge->node())) plan_node(edge->node(), *after->definition(), &node);
  }
}

Result<> Graph::Reopening::plan(const std::vector<schema::BlockdevOptions>& options) {
  for (const schema::BlockdevOptions& one : options) {
    if (!one.node_name) return fail("node-name not specified");
    Node* node = graph_.find(*one.node_name);
    if (node == nullptr) return fail(fmt::format("Failed to find node with node-name='{}'", *one.node_name));
    if (!is_planned(*node)) plan_node(*node, one, nullptr);
  }
  return {};
}

aio::Task<Result<>> Graph::Reopening::execute() {
  std::vector<Node*> nodes;
  for (const Item& item : items_) nodes.push_back(item.node);
  std::vector<Edge*> edges = root_edges_above(nodes);
  for (Edge* edge : edges) co_await edge->quiesce();

  Result<> result = co_await prepare_all();
  if (result) {
    std::vector<PlannedOptions> planned;
    for (const Item& item : items_) planned.push_back({item.node, item.node_options});
    for (const Switch& change : switches_) nodes.push_back(change.before);
    result = check_depth(nodes);
    if (result) result = co_await update_permissions(nodes, planned);
  }
  if (result) {
    co_await commit();
  } else {
    co_await abort();
  }
  for (Edge* edge : edges) edge->resume();
  co_return result;
}

aio::Task<Result<>> Graph::Reopening::prepare_all() {
  for (const Item& item : items_) {
    if (IoResult flushed = co_await item.node->flush(); !flushed) {
      co_return fail(Error::system("Error flushing drive", flushed.error()));
    }
  }
  for (Item& item : items_) CO_TRY(co_await prepare(item));
  co_return Result<>();
}

const NodeOptions* Graph::Reopening::options_of_parent(const Item& item) const {
  if (item.parent == nullptr) return nullptr;
  // Planned before its children.
  return &items_[item_numbers_.at(item.parent)].node_options;
}

aio::Task<Result<>> Graph::Reopening::prepare(Item& item) {
  const schema::BlockdevOptions& before = graph_.entry(*item.node).options;
  if (before.driver() != item.options->driver()) co_return fail("Cannot change the option 'driver'");
  // An inline child is known by its place.
  if (item.parent != nullptr && item.options->node_name && *item.options->node_name != item.node->name()) {
    co_return fail("Cannot change the option 'node-name'");
  }
  if (item.options->force_share.value_or(false) != before.force_share.value_or(false)) {
    co_return fail("Cannot change the option 'force-share'");
  }
  CO_TRY_ASSIGN(item.node_options, node_options_of(*item.options, options_of_parent(item)));
  CO_TRY(prepare_children(item));
  CO_TRY(co_await item.node->driver().prepare_reopen(before, *item.options, item.node_options));
  prepared_++;
  co_return Result<>();
}

Result<> Graph::Reopening::prepare_children(const Item& item) {
  for (Edge* edge : item.node->driver().children()) TRY(prepare_child(item, *edge));
  return {};
}

Result<> Graph::Reopening::prepare_child(const Item& item, Edge& edge) {
  const schema::BlockdevRef* reference = child_reference(*item.options, edge.role());
  if (reference == nullptr) return {};
  if (reference->definition() != nullptr) {
    const schema::BlockdevRef* before = child_reference(graph_.entry(*item.node).options, edge.role());
    if (before != nullptr && before->definition() != nullptr) return {};
    return fail(fmt::format("Cannot change the option '{}.driver'", edge.role()));
  }
  TRY_ASSIGN(Node * target, graph_.lookup(*reference->reference()));
  if (target == &edge.node()) return {};
  if (reaches(*target, *item.node)) {
    return fail(fmt::format("Making '{}' a {} child of '{}' would create a cycle", target->name(), edge.role(),
                            item.node->name()));
  }
  switches_.push_back({&edge, &edge.node(), parents_of(edge.node())});
  edge.attach(*target);
  return {};
}

aio::Task<void> Graph::Reopening::commit() {
  std::vector<Node*> changed;
  for (Item& item : items_) {
    changed.push_back(item.node);
    co_await item.node->driver().commit_reopen();
    item.node->set_options(item.node_options);
    item.node->refresh_limits();
    graph_.entry(*item.node).options = *item.options;
  }
  // What was flushed while cache.no-flush was on was not made durable.
  for (Node* above : with_all_above(changed)) above->require_flush();
  std::vector<std::string> left;
  for (const Switch& change : switches_) left.push_back(change.before->name());
  co_await graph_.drop_unused(std::move(left));
}

aio::Task<void> Graph::Reopening::abort() {
  while (prepared_ > 0) co_await items_[--prepared_].node->driver().abort_reopen();
  for (const Switch& change : switches_ | std::views::reverse) {
    change.edge->attach(*change.before);
    restore_order(*change.before, change.parents);
  }
}

aio::Task<Result<>> Graph::reopen(std::vector<schema::BlockdevOptions> options) {
  auto guard = co_await changes_.lock();
  if (!guard) co_return fail(Error::system("The change of the block graph was given up", guard.error()));
  Reopening reopening(*this);
  CO_TRY(reopening.plan(options));
  co_return co_await reopening.execute();
}

}  // namespace blockexport::block
