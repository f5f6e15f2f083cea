#include "block/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "aio/sync/shielded.h"

namespace blockexport::block {
namespace {

std::vector<GraphStep> list_of(GraphStep step) {
  std::vector<GraphStep> steps;
  steps.push_back(std::move(step));
  return steps;
}

}  // namespace

Graph::~Graph() {
  // Parents first; usually they are younger than their children. A root edge that still exists would lose its node.
  bool removed = true;
  while (std::exchange(removed, false)) {
    for (auto each = nodes_.end(); each != nodes_.begin();) {
      --each;
      if (!each->node->parents().empty()) continue;
      each = nodes_.erase(each);
      removed = true;
    }
  }
  assert(nodes_.empty());
}

Node* Graph::find(std::string_view name) const {
  GraphNode* found = entry(name);
  return found != nullptr ? found->node.get() : nullptr;
}

Result<Node*> Graph::lookup(std::string_view name) const {
  if (Node* node = find(name)) return node;
  return fail(fmt::format("Cannot find device='' nor node-name='{}'", name));
}

GraphNode* Graph::entry(std::string_view name) const {
  auto found = nodes_by_name_.find(name);
  return found != nodes_by_name_.end() ? &*found->second : nullptr;
}

GraphNode& Graph::entry(const Node& node) const {
  GraphNode* found = entry(node.name());
  if (found != nullptr && found->node.get() == &node) return *found;
  // A change that is being prepared may have removed the node's name; queries see the node until the change is
  // committed.
  auto place = std::ranges::find(nodes_, &node, [](const GraphNode& one) -> const Node* { return one.node.get(); });
  assert(place != nodes_.end());
  return const_cast<GraphNode&>(*place);
}

aio::Task<Result<>> Graph::add(schema::BlockdevOptions options) {
  return apply(list_of(AddNode{std::move(options)}));
}

aio::Task<Result<>> Graph::remove(std::string name) {
  return apply(list_of(RemoveNode{std::move(name)}));
}

aio::Task<Result<>> Graph::reopen(std::vector<schema::BlockdevOptions> options) {
  return apply(list_of(ReopenNodes{std::move(options)}));
}

aio::Task<Result<>> Graph::resize(std::string name, std::int64_t size_bytes) {
  return apply(list_of(ResizeNode{std::move(name), size_bytes}));
}

aio::Task<Result<>> Graph::rename_backing(RenameBacking change) {
  return apply(list_of(std::move(change)));
}

aio::Task<Result<std::unique_ptr<Edge>>> Graph::attach(std::string name, EdgeParent parent, Permissions permissions) {
  std::unique_ptr<Edge> edge;
  CO_TRY(co_await apply(list_of(AttachEdge{std::move(name), std::move(parent), permissions, &edge})));
  co_return edge;
}

aio::Task<Result<std::unique_ptr<Edge>>> Graph::attach(schema::BlockdevRef reference, EdgeParent parent,
                                                       Permissions permissions) {
  std::unique_ptr<Edge> edge;
  CO_TRY(co_await apply(list_of(AttachReference{std::move(reference), std::move(parent), permissions, &edge})));
  co_return edge;
}

aio::Task<void> Graph::detach(std::unique_ptr<Edge> edge) {
  return aio::shielded("block graph detach", give_back(std::move(edge)));
}

aio::Task<void> Graph::give_back(std::unique_ptr<Edge> edge) {
  // Detaching only releases permissions, which cannot fail.
  (void)co_await apply(list_of(DetachEdge{&edge}));
  root_edge_gone_.set();
}

aio::Task<void> Graph::close() {
  closing_ = true;
  return aio::shielded("block graph close", remove_all());
}

Graph::Place Graph::place_of(const Node& node) {
  auto found = nodes_by_name_.find(node.name());
  if (found != nodes_by_name_.end() && found->second->node.get() == &node) return found->second;
  auto place = std::ranges::find(nodes_, &node, [](const GraphNode& one) -> const Node* { return one.node.get(); });
  assert(place != nodes_.end());
  return place;
}

std::unique_ptr<Node> Graph::take(Place place) {
  trace_.note(TraceEvent::kBlockNodeClosed, {place->shown_name()});
  std::unique_ptr<Node> taken = std::move(place->node);
  nodes_.erase(place);
  return taken;
}

}  // namespace blockexport::block
