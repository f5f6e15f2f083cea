#include "block/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "block/permission_update.h"

namespace blockexport::block {
namespace {

Error cancelled() {
  return Error::system("The change of the block graph was given up", Errno(ECANCELED));
}

}  // namespace

Graph::~Graph() {
  // Parents first; who still holds a root edge would be left without a node.
  while (!nodes_.empty()) {
    auto unused = std::ranges::find_if(nodes_, [](GraphNode& e) { return e.node->parents().empty(); });
    assert(unused != nodes_.end());
    nodes_.erase(unused);
  }
}

Node* Graph::find(std::string_view name) const {
  for (const GraphNode& entry : nodes_) {
    if (entry.node->name() == name) return entry.node.get();
  }
  return nullptr;
}

Result<Node*> Graph::lookup(std::string_view name) const {
  if (Node* node = find(name)) return node;
  return fail(fmt::format("Cannot find device='' nor node-name='{}'", name));
}

GraphNode* Graph::entry(std::string_view name) {
  for (GraphNode& entry : nodes_) {
    if (entry.node->name() == name) return &entry;
  }
  return nullptr;
}

GraphNode& Graph::entry(const Node& node) {
  auto found = std::ranges::find_if(nodes_, [&](GraphNode& entry) { return entry.node.get() == &node; });
  assert(found != nodes_.end());
  return *found;
}

aio::Task<Result<>> Graph::add(schema::BlockdevOptions options) {
  auto guard = co_await changes_.lock();
  if (!guard) co_return fail(cancelled());
  if (!options.node_name) co_return fail("'node-name' must be specified for the root node");
  CO_TRY_ASSIGN(Node * node, co_await open_node(options, nullptr));
  Node* const changed[] = {node};
  if (Result<> result = co_await update_permissions(changed); !result) {
    co_await drop(*node);
    co_return result;
  }
  entry(*node).owned_by_user = true;
  co_return Result<>();
}

aio::Task<Result<>> Graph::remove(std::string name) {
  auto guard = co_await changes_.lock();
  if (!guard) co_return fail(cancelled());
  GraphNode* found = entry(name);
  if (found == nullptr) co_return fail(fmt::format("Failed to find node with node-name='{}'", name));
  for (Edge& edge : found->node->parents()) {
    if (edge.is_root()) co_return fail(fmt::format("Node {} is in use", name));
  }
  if (!found->owned_by_user) co_return fail(fmt::format("Node {} is not owned by the monitor", name));
  if (!found->node->parents().empty()) co_return fail(fmt::format("Block device {} is in use", name));
  co_await drop(*found->node);
  co_return Result<>();
}

aio::Task<Result<>> Graph::resize(std::string name, std::int64_t size_bytes) {
  auto guard = co_await changes_.lock();
  if (!guard) co_return fail(cancelled());
  CO_TRY_ASSIGN(Node * node, lookup(name));
  if (size_bytes < 0) co_return fail("Parameter 'size' expects a >0 size");
  Node* const changed[] = {node};
  Result<> result;
  {
    Edge edge(*node, {.role = "root", .description = std::string(kUnnamedUser)}, {.used = Permission::kResize});
    result = co_await update_permissions(changed);
    if (result) {
      std::vector<Edge*> edges = root_edges_above(changed);
      for (Edge* above : edges) co_await above->quiesce();
      result = co_await node->resize(static_cast<std::uint64_t>(size_bytes));
      for (Edge* above : edges) above->resume();
    }
  }
  // Gives back; nothing new is asked for.
  (void)co_await update_permissions(changed);
  co_return result;
}

aio::Task<void> Graph::close() {
  auto guard = co_await changes_.lock();
  while (true) {
    auto unused = std::ranges::find_if(nodes_, [](GraphNode& e) { return e.node->parents().empty(); });
    if (unused == nodes_.end()) break;
    for (GraphNode& each : nodes_) each.owned_by_user = false;
    co_await drop(*unused->node);
  }
  assert(nodes_.empty());
}

aio::Task<Result<std::unique_ptr<Edge>>> Graph::attach(Node& node, EdgeParent parent, Permissions permissions) {
  auto guard = co_await changes_.lock();
  if (!guard) co_return fail(cancelled());
  auto edge = std::make_unique<Edge>(node, std::move(parent), permissions);
  Node* const changed[] = {&node};
  if (Result<> result = co_await update_permissions(changed); !result) {
    edge.reset();
    co_return fail(std::move(result).error());
  }
  co_return edge;
}

aio::Task<void> Graph::detach(std::unique_ptr<Edge> edge) {
  Node& node = edge->node();
  auto guard = co_await changes_.lock();
  edge.reset();
  Node* const changed[] = {&node};
  (void)co_await update_permissions(changed);
}

aio::Task<Result<>> Graph::change_permissions(Edge& edge, Permissions permissions) {
  auto guard = co_await changes_.lock();
  if (!guard) co_return fail(cancelled());
  Permissions before = edge.permissions();
  edge.set_permissions(permissions);
  Node* const changed[] = {&edge.node()};
  Result<> result = co_await update_permissions(changed);
  if (!result) edge.set_permissions(before);
  co_return result;
}

std::unique_ptr<Node> Graph::take(Node& node) {
  auto found = std::ranges::find_if(nodes_, [&](GraphNode& entry) { return entry.node.get() == &node; });
  assert(found != nodes_.end());
  trace_.note(TraceEvent::kBlockNodeClosed, {node.name()});
  std::unique_ptr<Node> taken = std::move(found->node);
  nodes_.erase(found);
  return taken;
}

aio::Task<void> Graph::drop(Node& node) {
  std::vector<Node*> children;
  for (Edge* edge : node.driver().children()) children.push_back(&edge->node());
  // Who removes a node has been told of every failed flush that they asked for.
  (void)co_await node.flush();
  take(node).reset();
  co_await drop_unused(std::move(children));
}

aio::Task<void> Graph::drop_unused(std::vector<Node*> nodes) {
  while (!nodes.empty()) {
    Node* node = nodes.back();
    nodes.pop_back();
    // The same node may be twice in the list, and gone by now.
    if (std::ranges::none_of(nodes_, [&](GraphNode& entry) { return entry.node.get() == node; })) continue;
    if (entry(*node).owned_by_user || !node->parents().empty()) {
      Node* const changed[] = {node};
      (void)co_await update_permissions(changed);
      continue;
    }
    for (Edge* edge : node->driver().children()) nodes.push_back(&edge->node());
    (void)co_await node->flush();
    take(*node).reset();
  }
}

std::vector<Edge*> root_edges_above(std::span<Node* const> nodes) {
  std::vector<Edge*> edges;
  std::vector<Node*> to_visit(nodes.begin(), nodes.end());
  std::unordered_set<Node*> seen(nodes.begin(), nodes.end());
  while (!to_visit.empty()) {
    Node* node = to_visit.back();
    to_visit.pop_back();
    for (Edge& edge : node->parents()) {
      if (edge.is_root()) {
        edges.push_back(&edge);
      } else if (seen.insert(edge.parent().node).second) {
        to_visit.push_back(edge.parent().node);
      }
    }
  }
  return edges;
}

}  // namespace blockexport::block
