#include "block/graph.h"

#include <fmt/format.h>

#include <cassert>
#include <ranges>
#include <span>
#include <utility>

#include "aio/shielded.h"
#include "block/permission_update.h"

namespace blockexport::block {
namespace {

Error cancelled() {
  return Error::system("The change of the block graph was given up", Errno(ECANCELED));
}

Error closed() {
  return Error("The block graph is being closed");
}

}  // namespace

Graph::~Graph() {
  // Parents first, which are mostly younger than their children; who still holds a root edge would be left without a
  // node.
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
  assert(found != nullptr && found->node.get() == &node);
  return *found;
}

aio::Task<Result<>> Graph::add(schema::BlockdevOptions options) {
  auto guard = co_await changes_.lock();
  if (!guard) co_return fail(cancelled());
  if (closing_) co_return fail(closed());
  if (!options.node_name) co_return fail("'node-name' must be specified for the root node");
  CO_TRY_ASSIGN(Node * node, co_await open_node(options, nullptr));
  Node* const changed[] = {node};
  Result<> result = check_depth(changed);
  if (result) result = co_await update_permissions(changed);
  if (result) {
    entry(*node).owned_by_user = true;
  } else {
    std::vector<std::string> names{node->name()};
    co_await drop_unused(std::move(names));
  }
  co_return result;
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
  found->owned_by_user = false;
  std::vector<std::string> names{std::move(name)};
  co_await drop_unused(std::move(names));
  co_return Result<>();
}

aio::Task<Result<>> Graph::resize(std::string name, std::int64_t size_bytes) {
  auto guard = co_await changes_.lock();
  if (!guard) co_return fail(cancelled());
  CO_TRY_ASSIGN(Node * node, lookup(name));
  if (size_bytes < 0) co_return fail("Parameter 'size' expects a >0 size");
  // Root edges come and go only while the lock is held, so that those which are found now stay. What has begun is
  // also undone, whoever does not want to wait for it.
  aio::Task<Result<>> resizing = resize_quiesced(*node, static_cast<std::uint64_t>(size_bytes));
  co_return co_await aio::shielded("block resize", std::move(resizing));
}

aio::Task<Result<>> Graph::resize_quiesced(Node& node, std::uint64_t size_bytes) {
  Node* const changed[] = {&node};
  auto right = std::make_unique<Edge>(node, EdgeParent{.role = "root", .description = std::string(kUnnamedUser)},
                                      Permissions{.used = Permission::kResize});
  Result<> result = size_bytes >= node.size_bytes() ? co_await update_permissions_for_growth(node)
                                                    : co_await update_permissions(changed);
  if (!result) co_return result;
  // Whoever reaches the node, or what it is resized with.
  std::vector<Node*> resized = with_all_below(node);
  std::vector<Edge*> edges = root_edges_above(resized);
  for (Edge* above : edges) co_await above->quiesce();
  result = co_await node.resize(size_bytes);
  // Users of nodes above see the new size too, and a flush of theirs is to make it durable.
  std::vector<Node*> reached = with_all_above(resized);
  for (Node* above : std::span(reached).subspan(resized.size())) above->require_flush();
  for (Edge* above : edges) above->resume();
  right.reset();
  // Gives back; nothing new is asked for.
  (void)co_await update_permissions(changed);
  co_return result;
}

aio::Task<void> Graph::close() {
  closing_ = true;
  return aio::shielded("block graph close", remove_all());
}

aio::Task<void> Graph::remove_all() {
  while (true) {
    {
      auto guard = co_await changes_.lock();
      std::vector<std::string> unused;
      for (GraphNode& each : nodes_ | std::views::reverse) {
        each.owned_by_user = false;
        if (each.node->parents().empty()) unused.push_back(each.node->name());
      }
      co_await drop_unused(std::move(unused));
    }
    if (nodes_.empty()) co_return;
    root_edge_gone_.reset();
    (void)co_await root_edge_gone_.wait();
  }
}

aio::Task<Result<std::unique_ptr<Edge>>> Graph::attach(std::string name, EdgeParent parent, Permissions permissions) {
  auto guard = co_await changes_.lock();
  if (!guard) co_return fail(cancelled());
  if (closing_) co_return fail(closed());
  // Only now: it may have gone while we waited.
  CO_TRY_ASSIGN(Node * node, lookup(name));
  auto edge = std::make_unique<Edge>(*node, std::move(parent), permissions);
  Node* const changed[] = {node};
  CO_TRY(co_await update_permissions(changed));
  co_return edge;
}

aio::Task<void> Graph::detach(std::unique_ptr<Edge> edge) {
  return aio::shielded("block graph detach", give_back(std::move(edge)));
}

aio::Task<void> Graph::give_back(std::unique_ptr<Edge> edge) {
  auto guard = co_await changes_.lock();
  std::vector<std::string> names{edge->node().name()};
  edge.reset();
  co_await drop_unused(std::move(names));
  root_edge_gone_.set();
}

std::unique_ptr<Node> Graph::take(Node& node) {
  trace_.note(TraceEvent::kBlockNodeClosed, {node.name()});
  auto found = nodes_by_name_.find(node.name());
  assert(found != nodes_by_name_.end());
  std::unique_ptr<Node> taken = std::move(found->second->node);
  nodes_.erase(found->second);
  nodes_by_name_.erase(found);
  return taken;
}

aio::Task<void> Graph::drop_unused(std::vector<std::string> names) {
  while (!names.empty()) {
    GraphNode* found = entry(names.back());
    names.pop_back();
    // The same name may be twice in the list, and its node gone by now.
    if (found == nullptr) continue;
    Node& node = *found->node;
    if (found->owned_by_user || !node.parents().empty()) {
      Node* const changed[] = {&node};
      (void)co_await update_permissions(changed);
      continue;
    }
    for (Edge* edge : node.driver().children()) names.push_back(edge->node().name());
    // Who removes a node has been told of every failed flush that they asked for.
    (void)co_await node.flush();
    take(node).reset();
  }
}

}  // namespace blockexport::block
