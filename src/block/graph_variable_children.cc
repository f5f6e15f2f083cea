// Steps of a change that add a child to a node or remove one, by themselves.
#include <fmt/format.h>

#include <algorithm>

#include "block/graph_change.h"
#include "block/permission_update.h"
#include "block/variable_children.h"

namespace blockexport::block {
namespace {

// Returns true if the node has a user that listings of the graph show.
bool has_parent(Node& node) {
  for (const Edge& edge : node.parents()) {
    if (!edge.parent().keeps_bitmap) return true;
  }
  return false;
}

Result<Node*> find_parent(Graph& graph, const std::string& name) {
  if (Node* node = graph.find(name)) return node;
  return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", name, name));
}

void refresh_limits_above(Node& changed) {
  Node* const nodes[] = {&changed};
  for (Node* above : children_first_above(nodes)) above->refresh_limits();
}

}  // namespace

class Graph::ChildAddition final : public Graph::Work {
 public:
  explicit ChildAddition(AddChild step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(parent_, find_parent(change.graph(), step_.parent));
    Node* child = change.graph().find(step_.node);
    if (child == nullptr) co_return fail(fmt::format("Node '{}' not found", step_.node));
    VariableChildren* children = parent_->driver().variable_children();
    if (children == nullptr) {
      co_return fail(fmt::format("The node {} does not support adding a child", step_.parent));
    }
    if (has_parent(*child)) co_return fail(fmt::format("The node {} already has a parent", step_.node));
    CO_TRY_ASSIGN(std::string name, children->next_child_name());
    const std::vector<Node*> below = with_all_below(*child);
    if (std::ranges::find(below, parent_) != below.end()) {
      co_return fail(
          fmt::format("Making '{}' a {} child of '{}' would create a cycle", step_.node, name, step_.parent));
    }
    CO_TRY(children->check_new_child(*child));
    Node* const nodes[] = {parent_};
    co_await change.quiesce_above(nodes);
    EdgeParent parent{.name = std::move(name),
                      .description = fmt::format("node '{}'", parent_->name()),
                      .node = parent_,
                      .roles = ChildRole::kData};
    auto edge = std::make_unique<Edge>(*child, std::move(parent), Permissions{});
    change.note_added(*edge);
    added_ = edge.get();
    children->add_child(std::move(edge));
    change.note_deeper(*parent_);
    co_return Result<>();
  }

  aio::Task<void> commit(Change&) override {
    refresh_limits_above(*parent_);
    co_return;
  }

  aio::Task<void> abort(Change&) override {
    (void)parent_->driver().variable_children()->take_child(*added_);
    co_return;
  }

 private:
  AddChild step_;
  Node* parent_ = nullptr;
  const Edge* added_ = nullptr;
};

class Graph::ChildRemoval final : public Graph::Work {
 public:
  explicit ChildRemoval(RemoveChild step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(parent_, find_parent(change.graph(), step_.parent));
    const std::vector<Edge*> all = parent_->driver().children();
    const auto found = std::ranges::find(all, step_.child, [](const Edge* edge) { return edge->name(); });
    if (found == all.end()) {
      co_return fail(fmt::format("Node '{}' does not have child '{}'", step_.parent, step_.child));
    }
    VariableChildren* children = parent_->driver().variable_children();
    if (children == nullptr) {
      co_return fail(fmt::format("The node {} does not support removing a child", step_.parent));
    }
    CO_TRY(children->check_removal());
    Edge& edge = **found;
    CO_TRY(change.check_not_frozen(*parent_, edge));
    Node* const nodes[] = {parent_};
    co_await change.quiesce_above(nodes);
    // The child keeps what it was given. If it cannot be flushed, that may be the reason for its removal.
    (void)co_await edge.node().flush();
    taken_ = children->take_child(edge);
    change.withdraw_edge(edge);
    change.note_changed(*parent_);
    co_await change.withdraw_if_unused(edge.node());
    co_return Result<>();
  }

  aio::Task<void> commit(Change&) override {
    taken_.edge.reset();
    refresh_limits_above(*parent_);
    co_return;
  }

  aio::Task<void> abort(Change&) override {
    parent_->driver().variable_children()->return_child(std::move(taken_));
    co_return;
  }

 private:
  RemoveChild step_;
  Node* parent_ = nullptr;
  VariableChildren::Taken taken_;
};

std::unique_ptr<Graph::Work> Graph::work_of(AddChild step) {
  return std::make_unique<ChildAddition>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(RemoveChild step) {
  return std::make_unique<ChildRemoval>(std::move(step));
}

}  // namespace blockexport::block
