// Steps of a change that put an overlay above a node, and what follows such a change.
#include <fmt/format.h>

#include <memory>

#include "block/chain.h"
#include "block/file_description.h"
#include "block/graph_change.h"
#include "block/overlay_source.h"

namespace blockexport::block {
namespace {

constexpr PermissionSet kWrites = Permission::kWrite | Permission::kWriteUnchanged;

// Returns true if a user reads the node, also through backing edges that got no permissions yet. The recursion ends at
// kGraphDepthMax.
bool is_read(Node& node) {
  for (const Edge& edge : node.parents()) {
    if (edge.permissions().used.has(Permission::kConsistentRead)) return true;
    if (edge.roles().has(ChildRole::kBacking) && is_read(*edge.parent().node)) return true;
  }
  return false;
}

// Raw is a format, although it shows the bytes of its child.
bool is_filter(Node& node, const schema::BlockdevOptions& options) {
  return filtered_node(node) != nullptr && options.driver() != schema::BlockdevDriver::kRaw;
}

// A point in time has the size that its node had when it began.
Result<> check_sizes(Node& node, Node& overlay) {
  if (node.size_bytes() == overlay.size_bytes()) return {};
  Node* const nodes[] = {&node};
  for (Node* above : with_all_above(nodes)) {
    if (above->driver().point_in_time() == nullptr) continue;
    return fail(fmt::format("Node '{}' keeps a point in time of {} bytes, and the overlay '{}' has {}", above->name(),
                            node.size_bytes(), overlay.name(), overlay.size_bytes()));
  }
  return {};
}

// The options that a new overlay takes from the node below, unless it has some of its own.
void inherit(schema::BlockdevOptions& options, const NodeOptions& below) {
  if (!options.read_only) options.read_only = below.read_only;
  if (!options.auto_read_only && below.auto_read_only) options.auto_read_only = true;
  if (!options.discard && below.discard == DiscardMode::kUnmap) {
    options.discard = schema::BlockdevDiscardOptions::kUnmap;
  }
  if (options.cache) return;
  options.cache.emplace();
  options.cache->direct = below.cache_direct;
  options.cache->no_flush = below.cache_no_flush;
}

}  // namespace

// The common part of both steps.
class Graph::Snapshot : public Graph::Work {
 public:
  aio::Task<Result<>> confirm(Change& change) override {
    for (const auto& part : parts_) CO_TRY(co_await part->confirm(change));
    co_return Result<>();
  }

  aio::Task<void> commit(Change& change) override {
    for (const auto& part : parts_) co_await part->commit(change);
  }

  aio::Task<void> abort(Change& change) override {
    while (!parts_.empty()) {
      co_await parts_.back()->abort(change);
      parts_.pop_back();
    }
  }

 protected:
  // Nothing is under way in the node afterwards, and all that it has is durable.
  static aio::Task<Result<>> settle(Change& change, Node& node) {
    CO_TRY(check_is_not_backing(node));
    Node* const nodes[] = {&node};
    co_await change.quiesce_above(nodes);
    if (!node.read_only() && !co_await node.flush()) co_return fail("An IO error has occurred");
    co_return Result<>();
  }

  aio::Task<Result<>> add_part(Change& change, std::unique_ptr<Work> part) {
    CO_TRY(co_await part->prepare(change));
    parts_.push_back(std::move(part));
    co_return Result<>();
  }

  // Gives the users of the node to the overlay, which stands above it.
  aio::Task<Result<>> move_users(Change& change, Node& node, Node& overlay) {
    CO_TRY(check_sizes(node, overlay));
    if (overlay.read_only() && !(node.permission_totals().together().used & kWrites).empty()) {
      co_return fail("Block node is read-only");
    }
    co_return co_await add_part(
        change, work_of(ReplaceNode{.name = node.name(), .by = overlay.name(), .allows_other_size = true}));
  }

  // The result of a prepare() whose work is undone here if it failed.
  aio::Task<Result<>> or_undo(Change& change, Result<> prepared) {
    if (!prepared) co_await abort(change);
    co_return prepared;
  }

 private:
  std::vector<std::unique_ptr<Work>> parts_;
};

class Graph::SnapshotTaking final : public Graph::Snapshot {
 public:
  explicit SnapshotTaking(TakeSnapshot step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    Result<> prepared = co_await prepare_parts(change);
    co_return co_await or_undo(change, std::move(prepared));
  }

 private:
  aio::Task<Result<>> prepare_parts(Change& change) {
    CO_TRY_ASSIGN(Node * node, find(change.graph(), step_.node));
    CO_TRY(co_await settle(change, *node));
    CO_TRY_ASSIGN(Node * overlay, find(change.graph(), step_.overlay));
    CO_TRY_ASSIGN(schema::BlockdevOptions options, options_above(change.graph(), *overlay, *node));
    ReopenNodes reopening;
    reopening.options.push_back(std::move(options));
    CO_TRY(co_await add_part(change, work_of(std::move(reopening))));
    co_return co_await move_users(change, *node, *overlay);
  }

  static Result<Node*> find(Graph& graph, const std::string& name) {
    if (Node* node = graph.find(name)) return node;
    return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", name, name));
  }

  // The options of the overlay, with the node as its backing node.
  static Result<schema::BlockdevOptions> options_above(Graph& graph, Node& overlay, Node& node) {
    schema::BlockdevOptions options = graph.about(overlay).options;
    if (is_read(overlay)) return fail("The overlay is already in use");
    if (is_filter(overlay, options)) return fail("Filters cannot be used as overlays");
    if (child_of_role(overlay, ChildRole::kBacking) != nullptr) return fail("The overlay already has a backing image");
    if (!set_backing(options, node.name())) return fail("The overlay does not support backing images");
    options.node_name = overlay.name();
    return options;
  }

  TakeSnapshot step_;
};

class Graph::OverlayAddition final : public Graph::Snapshot {
 public:
  explicit OverlayAddition(AddOverlay step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    Result<> prepared = co_await prepare_parts(change);
    co_return co_await or_undo(change, std::move(prepared));
  }

 private:
  aio::Task<Result<>> prepare_parts(Change& change) {
    Graph& graph = change.graph();
    Node* node = graph.find(step_.node);
    if (node == nullptr) {
      co_return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", step_.device, step_.node));
    }
    CO_TRY(co_await settle(change, *node));
    if (!step_.overlay) co_return fail("New overlay node-name missing");
    if (graph.find(*step_.overlay) != nullptr) co_return fail("New overlay node-name already in use");
    CO_TRY(graph.check_name(*step_.overlay));
    OverlayBase base{.filename = file_description(graph, *node),
                     .format = std::string(below_filters_but_raw(graph, *node).driver().format_name()),
                     .size_bytes = node->size_bytes()};
    CO_TRY_ASSIGN(schema::BlockdevOptions options, co_await step_.source->make(std::move(base)));
    options.node_name = *step_.overlay;
    inherit(options, node->options());
    const bool has_backing = set_backing(options, node->name());
    CO_TRY(co_await add_part(change, work_of(AddNode{std::move(options)})));
    Node& overlay = *graph.find(*step_.overlay);
    change.set_owned_by_user(overlay, false);
    if (!has_backing) co_return fail("The overlay does not support backing images");
    co_return co_await move_users(change, *node, overlay);
  }

  // A filter has no format of its own in an image.
  static Node& below_filters_but_raw(Graph& graph, Node& node) {
    Node* found = &node;
    while (is_filter(*found, graph.about(*found).options)) found = filtered_node(*found);
    return *found;
  }

  AddOverlay step_;
};

Result<> check_is_not_backing(Node& node) {
  const Edge* newest = nullptr;
  for (const Edge& edge : node.parents()) {
    if (edge.roles().has(ChildRole::kBacking)) newest = &edge;
  }
  if (newest == nullptr) return {};
  return fail(
      fmt::format("Node '{}' is busy: node is used as backing hd of '{}'", node.name(), newest->parent().node->name()));
}

aio::Task<void> Graph::settle_snapshot(std::string node, std::string overlay) {
  co_await make_read_only(std::move(node));
  GraphNode* const found = entry(overlay);
  if (found == nullptr || found->owned_by_user || !found->node->parents().empty()) co_return;
  // Its last edge takes it along.
  auto edge = co_await attach(std::move(overlay), EdgeParent{.name = "root", .description = {}}, {});
  if (edge) co_await detach(std::move(*edge));
}

aio::Task<void> Graph::make_read_only(std::string name) {
  GraphNode* const found = entry(name);
  if (found == nullptr || found->node->read_only()) co_return;
  schema::BlockdevOptions options = found->options;
  options.node_name = name;
  options.read_only = true;
  Edge* const backing = child_of_role(*found->node, ChildRole::kBacking);
  // A backing node that the image names is in no options.
  if (backing != nullptr && !child_reference(options, backing->name())) set_backing(options, backing->node().name());
  std::vector<schema::BlockdevOptions> all;
  all.push_back(std::move(options));
  // As with qemu-storage-daemon, a node that cannot be reopened stays as it is: nobody writes to it.
  (void)co_await reopen(std::move(all));
}

std::unique_ptr<Graph::Work> Graph::work_of(TakeSnapshot step) {
  return std::make_unique<SnapshotTaking>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(AddOverlay step) {
  return std::make_unique<OverlayAddition>(std::move(step));
}

}  // namespace blockexport::block
