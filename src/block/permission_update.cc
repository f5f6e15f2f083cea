#include "block/permission_update.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <unordered_map>
#include <unordered_set>

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
  return fmt::format("{} (uses node '{}' as '{}' child)", edge.parent().description, edge.node().name(), edge.role());
}

// One update: a plan, then its execution.
class Update {
 public:
  explicit Update(std::span<const PlannedOptions> planned) : planned_options_(planned) {}

  Result<> plan(std::span<Node* const> changed);
  aio::Task<Result<>> execute();

 private:
  struct Step {
    Node* node;
    Permissions before;
    Permissions after;
  };

  Result<> check_depth(std::span<Node* const> changed);
  std::size_t nodes_above(Node& node);
  std::size_t nodes_below(Node& node);
  void visit(Node& node);
  Result<> plan_node(Node& node);
  Result<> check_users(Node& node) const;
  Permissions permissions_of(const Edge& edge) const;
  const NodeOptions& options_of(const Node& node) const;
  bool is_reopened(const Node& node) const;

  std::span<const PlannedOptions> planned_options_;
  std::unordered_map<Node*, std::size_t> above_;
  std::unordered_map<Node*, std::size_t> below_;
  std::unordered_set<Node*> visited_;
  std::vector<Node*> children_first_;
  std::unordered_map<const Edge*, Permissions> planned_edges_;
  std::vector<Step> steps_;
};

// The longest ways up and down, counting the node itself. Each part of the graph was within the limit before.
std::size_t Update::nodes_above(Node& node) {
  if (auto found = above_.find(&node); found != above_.end()) return found->second;
  std::size_t most = 0;
  for (Edge& edge : node.parents()) {
    if (!edge.is_root()) most = std::max(most, nodes_above(*edge.parent().node));
  }
  return above_[&node] = most + 1;
}

std::size_t Update::nodes_below(Node& node) {
  if (auto found = below_.find(&node); found != below_.end()) return found->second;
  std::size_t most = 0;
  for (Edge* edge : node.driver().children()) most = std::max(most, nodes_below(edge->node()));
  return below_[&node] = most + 1;
}

Result<> Update::check_depth(std::span<Node* const> changed) {
  for (Node* node : changed) {
    if (nodes_above(*node) + nodes_below(*node) - 1 <= kGraphDepthMax) continue;
    return fail(fmt::format("The block graph would be more than {} nodes deep", kGraphDepthMax));
  }
  return {};
}

// Depth first.
void Update::visit(Node& node) {
  if (!visited_.insert(&node).second) return;
  for (Edge* child : node.driver().children()) visit(child->node());
  children_first_.push_back(&node);
}

Result<> Update::plan(std::span<Node* const> changed) {
  TRY(check_depth(changed));
  for (Node* node : changed) visit(*node);
  for (Node* node : children_first_ | std::views::reverse) TRY(plan_node(*node));
  return {};
}

Permissions Update::permissions_of(const Edge& edge) const {
  auto found = planned_edges_.find(&edge);
  return found != planned_edges_.end() ? found->second : edge.permissions();
}

bool Update::is_reopened(const Node& node) const {
  return std::ranges::any_of(planned_options_, [&](const PlannedOptions& planned) { return planned.node == &node; });
}

const NodeOptions& Update::options_of(const Node& node) const {
  for (const PlannedOptions& planned : planned_options_) {
    if (planned.node == &node) return planned.options;
  }
  return node.options();
}

Result<> Update::check_users(Node& node) const {
  for (Edge& holder : node.parents()) {
    PermissionSet shared = permissions_of(holder).shared;
    for (Edge& user : node.parents()) {
      if (&user == &holder) continue;
      PermissionSet conflict = permissions_of(user).used - shared;
      if (conflict.empty()) continue;
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
  Permissions all;
  for (Edge& edge : node.parents()) {
    Permissions one = permissions_of(edge);
    all.used = all.used | one.used;
    all.shared = all.shared & one.shared;
  }
  const NodeOptions& options = options_of(node);
  if (options.read_only && !(all.used & (Permission::kWrite | Permission::kWriteUnchanged)).empty()) {
    if (!is_reopened(node)) return fail("Block node is read-only");
    return fail(fmt::format("Read-only block node '{}' cannot support read-write users", node.name()));
  }
  for (Edge* child : node.driver().children()) {
    Permissions needed = node.driver().child_permissions(*child, all, options.read_only);
    if (options.force_share || options_of(child->node()).force_share) needed.shared = PermissionSet::all();
    planned_edges_[child] = needed;
  }
  if (all != node.permissions()) steps_.push_back({&node, node.permissions(), all});
  return {};
}

aio::Task<Result<>> Update::execute() {
  for (std::size_t done = 0; done < steps_.size(); done++) {
    Result<> result = co_await steps_[done].node->driver().set_permissions(steps_[done].after);
    if (result) continue;
    while (done-- > 0) {
      // Going back to what was held a moment ago; if another process was quicker, there is nothing better to do.
      (void)co_await steps_[done].node->driver().set_permissions(steps_[done].before);
    }
    co_return result;
  }
  for (const Step& step : steps_) {
    step.node->set_permissions(step.after);
  }
  for (Node* node : children_first_) {
    for (Edge* child : node->driver().children()) child->set_permissions(planned_edges_[child]);
  }
  co_return Result<>();
}

}  // namespace

aio::Task<Result<>> update_permissions(std::span<Node* const> changed, std::span<const PlannedOptions> planned) {
  Update update(planned);
  CO_TRY(update.plan(changed));
  co_return co_await update.execute();
}

}  // namespace blockexport::block
