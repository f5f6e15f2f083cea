#include "block/permission_update.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <unordered_map>
#include <unordered_set>

#include "block/edge.h"
#include "block/node_store.h"

namespace blockexport::block {
namespace {

std::string names_of(PermissionSet permissions) {
  std::string names;
  for (Permission permission : kAllPermissions) {
    if (!permissions.has(permission)) continue;
    if (!names.empty()) names += ", ";
    names += permission_text(permission);
  }
  return names;
}

std::string user_of(const Edge& edge) {
  return fmt::format("{} (uses node '{}' as '{}' child)", edge.parent().description, edge.node().name(), edge.name());
}

// Depth first; the depth is at most kGraphDepthMax.
void visit_above(Node& node, std::unordered_set<Node*>& visited, std::vector<Node*>& parents_first) {
  if (!visited.insert(&node).second) return;
  for (Edge& edge : node.parents()) {
    if (!edge.is_root()) visit_above(*edge.parent().node, visited, parents_first);
  }
  parents_first.push_back(&node);
}

// Computes the longest paths up and down from nodes, counting the node itself.
class DepthSearch {
 public:
  std::size_t nodes_above(Node& node) {
    if (auto found = above_.find(&node); found != above_.end()) return found->second;
    std::size_t most = 0;
    for (Edge& edge : node.parents()) {
      if (!edge.is_root()) most = std::max(most, nodes_above(*edge.parent().node));
    }
    return above_[&node] = most + 1;
  }

  std::size_t nodes_below(Node& node) {
    if (auto found = below_.find(&node); found != below_.end()) return found->second;
    std::size_t most = 0;
    for (Edge* edge : node.driver().children()) most = std::max(most, nodes_below(edge->node()));
    return below_[&node] = most + 1;
  }

 private:
  std::unordered_map<Node*, std::size_t> above_;
  std::unordered_map<Node*, std::size_t> below_;
};

Permissions both(const Permissions& one, const Permissions& other) {
  return {.used = one.used | other.used, .shared = one.shared & other.shared};
}

class Update final : public PermissionUpdate {
 public:
  enum class Conflicts : bool { kRefused, kIgnored };

  explicit Update(std::span<const PlannedOptions> options, Conflicts conflicts = Conflicts::kRefused);

  // Plans with other permissions of `edge`. Call it before plan_nodes().
  void assume(Edge& edge, Permissions permissions) { plan_edge(edge, permissions); }
  Result<> plan_nodes(std::span<Node* const> changed);

  aio::Task<Result<>> prepare() override;
  aio::Task<void> commit() override;
  aio::Task<void> abort() override;

 private:
  // The permissions that are set in the driver of a node.
  struct Step {
    Node* node;
    Permissions before;
    Permissions after;
  };

  void visit(Node& node);
  Result<> plan_node(Node& node);
  void plan_edge(Edge& edge, Permissions permissions);
  Result<> check_users(Node& node) const;
  Permissions permissions_of(const Edge& edge) const;
  const PermissionTotals& totals_of(Node& node) const;
  const NodeOptions& options_of(Node& node) const;

  Conflicts conflicts_;
  std::unordered_map<Node*, NodeOptions> planned_options_;
  std::unordered_set<Node*> visited_;
  std::vector<Node*> children_first_;
  std::unordered_map<const Edge*, Permissions> planned_edges_;
  std::unordered_map<Node*, PermissionTotals> planned_totals_;  // of nodes with planned edges
  std::vector<Step> steps_;
  std::size_t prepared_ = 0;  // number of prepared steps
};

Update::Update(std::span<const PlannedOptions> options, Conflicts conflicts) : conflicts_(conflicts) {
  for (const PlannedOptions& planned : options) planned_options_.emplace(planned.node, planned.options);
}

// Depth first.
void Update::visit(Node& node) {
  if (!visited_.insert(&node).second) return;
  for (Edge* child : node.driver().children()) visit(child->node());
  children_first_.push_back(&node);
}

Result<> Update::plan_nodes(std::span<Node* const> changed) {
  for (Node* node : changed) visit(*node);
  for (Node* node : children_first_ | std::views::reverse) TRY(plan_node(*node));
  return {};
}

Permissions Update::permissions_of(const Edge& edge) const {
  auto found = planned_edges_.find(&edge);
  return found != planned_edges_.end() ? found->second : edge.permissions();
}

const PermissionTotals& Update::totals_of(Node& node) const {
  auto found = planned_totals_.find(&node);
  return found != planned_totals_.end() ? found->second : node.permission_totals();
}

void Update::plan_edge(Edge& edge, Permissions permissions) {
  Permissions before = permissions_of(edge);
  planned_edges_[&edge] = permissions;
  if (before == permissions) return;
  Node& node = edge.node();
  PermissionTotals& totals = planned_totals_.try_emplace(&node, node.permission_totals()).first->second;
  totals.remove(before);
  totals.add(permissions);
}

const NodeOptions& Update::options_of(Node& node) const {
  auto found = planned_options_.find(&node);
  return found != planned_options_.end() ? found->second : node.options();
}

// Counts suffice to detect a conflict; only the message needs to find the edges.
Result<> Update::check_users(Node& node) const {
  const PermissionTotals& totals = totals_of(node);
  if (conflicts_ == Conflicts::kIgnored || totals.get_along()) return {};
  for (Edge& holder : node.parents()) {
    Permissions held = permissions_of(holder);
    if (!totals.withholds_from_another(held)) continue;
    for (Edge& user : node.parents()) {
      PermissionSet conflict = permissions_of(user).used - held.shared;
      if (&user == &holder || conflict.empty()) continue;
      return fail(
          fmt::format("Permission conflict on node '{}': permissions '{}' are both required by {} and unshared "
                      "by {}.",
                      node.name(), names_of(conflict), user_of(user), user_of(holder)));
    }
  }
  return {};
}

Result<> Update::plan_node(Node& node) {
  TRY(check_users(node));
  Permissions all = totals_of(node).together();
  // Its bitmaps would miss changes that do not come through the node.
  if (const NodeStore* store = node.bitmaps().store(); store != nullptr && !store->is_leaving()) {
    all.shared = all.shared - (Permission::kWrite | Permission::kResize);
  }
  const NodeOptions& options = options_of(node);
  if (options.read_only && !(all.used & (Permission::kWrite | Permission::kWriteUnchanged)).empty()) {
    if (!planned_options_.contains(&node)) return fail("Block node is read-only");
    return fail(fmt::format("Read-only block node '{}' cannot support read-write users", node.name()));
  }
  for (Edge* child : node.driver().children()) {
    Permissions needed = node.driver().child_permissions(*child, all, options.read_only);
    if (options.force_share || options_of(child->node()).force_share) needed.shared = PermissionSet::all();
    plan_edge(*child, needed);
  }
  if (all != node.permissions()) steps_.push_back({&node, node.permissions(), all});
  return {};
}

aio::Task<Result<>> Update::prepare() {
  for (; prepared_ < steps_.size(); ++prepared_) {
    const Step& step = steps_[prepared_];
    const Permissions held = both(step.before, step.after);
    if (held == step.before) continue;
    Result<> result = co_await step.node->driver().set_permissions(held);
    if (result) continue;
    co_await abort();
    co_return result;
  }
  co_return Result<>();
}

aio::Task<void> Update::commit() {
  for (const Step& step : steps_) {
    if (both(step.before, step.after) != step.after) (void)co_await step.node->driver().set_permissions(step.after);
    step.node->set_permissions(step.after);
  }
  for (Node* node : children_first_) {
    for (Edge* child : node->driver().children()) child->set_permissions(planned_edges_[child]);
  }
}

aio::Task<void> Update::abort() {
  while (prepared_ > 0) {
    const Step& step = steps_[--prepared_];
    if (both(step.before, step.after) == step.before) continue;
    (void)co_await step.node->driver().set_permissions(step.before);
  }
}

// Plans the growth as if the edges that tolerate it shared resizing, in order to find those that do not.
Result<> check_growth(const PermissionChange& change) {
  Update trial(change.planned);
  std::vector<Node*> changed = with_all_below(*change.growing);
  const std::vector<Edge*> users = root_edges_above(changed);
  for (Edge* edge : users) {
    if (!edge->parent().tolerates_growth) continue;
    Permissions sharing = edge->permissions();
    sharing.shared = sharing.shared | Permission::kResize;
    trial.assume(*edge, sharing);
    changed.push_back(&edge->node());
  }
  changed.insert(changed.end(), change.nodes.begin(), change.nodes.end());
  return trial.plan_nodes(changed);
}

}  // namespace

Result<std::unique_ptr<PermissionUpdate>> PermissionUpdate::plan(PermissionChange change) {
  const bool grows = change.growing != nullptr;
  if (grows) TRY(check_growth(change));
  auto update =
      std::make_unique<Update>(change.planned, grows ? Update::Conflicts::kIgnored : Update::Conflicts::kRefused);
  if (grows) change.nodes.push_back(change.growing);
  TRY(update->plan_nodes(change.nodes));
  return update;
}

Result<> check_depth(std::span<Node* const> nodes) {
  DepthSearch search;
  for (Node* node : nodes) {
    if (search.nodes_above(*node) + search.nodes_below(*node) - 1 <= kGraphDepthMax) continue;
    return fail(fmt::format("The block graph would be more than {} nodes deep", kGraphDepthMax));
  }
  return {};
}

std::vector<Node*> with_all_below(Node& node) {
  std::vector<Node*> found{&node};
  std::unordered_set<Node*> seen{&node};
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (Edge* child : found[i]->driver().children()) {
      if (seen.insert(&child->node()).second) found.push_back(&child->node());
    }
  }
  return found;
}

std::vector<Node*> with_all_above(std::span<Node* const> nodes) {
  std::vector<Node*> found;
  std::unordered_set<Node*> seen;
  for (Node* node : nodes) {
    if (seen.insert(node).second) found.push_back(node);
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (Edge& edge : found[i]->parents()) {
      if (!edge.is_root() && seen.insert(edge.parent().node).second) found.push_back(edge.parent().node);
    }
  }
  return found;
}

std::vector<Node*> parents_first_above(std::span<Node* const> nodes) {
  std::unordered_set<Node*> visited;
  std::vector<Node*> parents_first;
  for (Node* node : nodes) visit_above(*node, visited, parents_first);
  return parents_first;
}

std::vector<Node*> children_first_above(std::span<Node* const> nodes) {
  std::vector<Node*> children_first = parents_first_above(nodes);
  std::ranges::reverse(children_first);
  return children_first;
}

std::vector<Edge*> root_edges_above(std::span<Node* const> nodes) {
  std::vector<Edge*> edges;
  for (Node* node : with_all_above(nodes)) {
    for (Edge& edge : node->parents()) {
      if (edge.is_root()) edges.push_back(&edge);
    }
  }
  return edges;
}

}  // namespace blockexport::block
