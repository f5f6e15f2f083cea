#include "block/graph_info.h"

#include <limits.h>

#include <algorithm>
#include <ranges>
#include <unordered_map>

#include "block/chain.h"
#include "block/edge.h"
#include "block/file_description.h"

namespace blockexport::block {
namespace {

constexpr std::uint32_t kSectorBytes = 512;
constexpr std::uint32_t kPageBytes = 4096;

std::int64_t as_signed(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

schema::BlockdevDetectZeroesOptions detect_zeroes_of(DetectZeroes value) {
  switch (value) {
    case DetectZeroes::kOff:
      return schema::BlockdevDetectZeroesOptions::kOff;
    case DetectZeroes::kOn:
      return schema::BlockdevDetectZeroesOptions::kOn;
    case DetectZeroes::kUnmap:
      return schema::BlockdevDetectZeroesOptions::kUnmap;
  }
  return schema::BlockdevDetectZeroesOptions::kOff;
}

// True if the node shows a host file, directly or through nodes that only forward.
bool stands_on_file(Node& node) {
  if (node.driver().file_statistics() != nullptr) return true;
  // An older state is in no file of its own.
  if (node.driver().as_live() == nullptr) return false;
  Node* image = filtered_node(node);
  if (image == nullptr) image = image_node(node);
  return image != nullptr && stands_on_file(*image);
}

// The largest memory alignment of the files below. Without a file any alignment works, and a sector is reported.
std::uint32_t memory_alignment_of(Node& node) {
  if (node.driver().file_statistics() != nullptr) return node.limits().memory_alignment;
  std::uint32_t alignment = 0;
  for (const Edge* child : node.driver().children()) {
    if (child->roles().holds_image()) alignment = std::max(alignment, memory_alignment_of(child->node()));
  }
  return alignment != 0 ? alignment : kSectorBytes;
}

// In the order of the schema: alignment of requests, size of pieces of memory, minimal and optimal alignment of memory.
schema::BlockLimitsInfo limits_of(Node& node) {
  return {node.limits().request_alignment, IOV_MAX, memory_alignment_of(node), kPageBytes};
}

std::vector<schema::BlockdevChild> children_of(Node& node) {
  std::vector<schema::BlockdevChild> list;
  for (Edge* child : node.driver().children())
    list.push_back({.child = child->name(), .node_name = child->node().name()});
  return list;
}

// The newest first; nothing when there are none.
std::optional<std::vector<schema::BlockDirtyInfo>> bitmaps_of(const Node& node) {
  std::vector<schema::BlockDirtyInfo> list;
  for (const auto& bitmap : node.bitmaps().list().all() | std::views::reverse) {
    schema::BlockDirtyInfo info{.name = bitmap->name(),
                                .count = as_signed(bitmap->bits().dirty_bytes()),
                                .granularity = bitmap->bits().granularity_bytes(),
                                .recording = bitmap->is_recording(),
                                .busy = bitmap->is_busy(),
                                .persistent = bitmap->is_persistent()};
    if (bitmap->is_inconsistent()) info.inconsistent = true;
    list.push_back(std::move(info));
  }
  if (list.empty()) return std::nullopt;
  return list;
}

// The node itself and the backing nodes below it, the deepest last.
std::vector<Node*> backing_chain(Node& node) {
  std::vector<Node*> chain;
  for (Node* each = &node; each != nullptr; each = backing_node(*each)) chain.push_back(each);
  return chain;
}

aio::Task<schema::ImageInfo> image_info_of(const Graph& graph, Node& node) {
  schema::ImageInfo image;
  image.filename = file_description(graph, node);
  image.format = node.driver().format_name();
  image.virtual_size = as_signed(node.size_bytes());
  image.limits = limits_of(node);
  if (auto allocated = co_await node.driver().allocated_bytes()) image.actual_size = as_signed(*allocated);
  if (node.driver().file_statistics() != nullptr) {
    constexpr auto kIndex = static_cast<std::size_t>(schema::ImageInfoSpecificKind::kFile);
    image.format_specific.emplace().branch.emplace<kIndex>();
  }
  if (stands_on_file(node)) image.dirty_flag = false;
  node.driver().describe_image(image);
  co_return image;
}

aio::Task<schema::ImageInfo> image_info_of(const Graph& graph, Node& node, BackingImages backing_images) {
  const std::vector<Node*> chain =
      backing_images == BackingImages::kIncluded ? backing_chain(node) : std::vector<Node*>{&node};
  schema::ImageInfo image;
  for (std::size_t i = chain.size(); i > 0; i--) {
    schema::ImageInfo above = co_await image_info_of(graph, *chain[i - 1]);
    if (i < chain.size()) above.backing_image = schema::Box<schema::ImageInfo>(std::move(image));
    image = std::move(above);
  }
  co_return image;
}

aio::Task<schema::BlockDeviceInfo> info_of(const Graph& graph, Node& node, BackingImages backing_images) {
  const NodeOptions& options = node.options();
  schema::BlockDeviceInfo info;
  info.file = file_description(graph, node);
  info.node_name = graph.about(node).shown_name();
  info.ro = node.read_only();
  info.drv = node.driver().format_name();
  info.children = children_of(node);
  info.active = true;
  info.detect_zeroes = detect_zeroes_of(options.detect_zeroes);
  info.cache = {.writeback = true, .direct = options.cache_direct, .no_flush = options.cache_no_flush};
  info.image = co_await image_info_of(graph, node, backing_images);
  info.encrypted = info.image.encrypted.value_or(false);
  // Without the images below it, the reference tells no depth.
  if (backing_images == BackingImages::kIncluded) info.backing_file_depth = as_signed(backing_chain(node).size() - 1);
  if (Edge* backing = child_of_role(node, ChildRole::kBacking)) {
    info.backing_file = file_description(graph, backing->node());
  }
  info.dirty_bitmaps = bitmaps_of(node);
  co_return info;
}

schema::BlockDeviceStats stats_of(const NodeStatistics& statistics) {
  schema::BlockDeviceStats stats;
  stats.rd_bytes = as_signed(statistics.read.bytes());
  stats.rd_operations = as_signed(statistics.read.operations());
  stats.rd_total_time_ns = as_signed(statistics.read.total_time_ns());
  stats.failed_rd_operations = as_signed(statistics.read.failed());
  // A write of zeros counts as a write.
  stats.wr_bytes = as_signed(statistics.write.bytes() + statistics.write_zeroes.bytes());
  stats.wr_operations = as_signed(statistics.write.operations() + statistics.write_zeroes.operations());
  stats.wr_total_time_ns = as_signed(statistics.write.total_time_ns() + statistics.write_zeroes.total_time_ns());
  stats.failed_wr_operations = as_signed(statistics.write.failed() + statistics.write_zeroes.failed());
  stats.wr_highest_offset = as_signed(statistics.highest_written_offset);
  stats.unmap_bytes = as_signed(statistics.discard.bytes());
  stats.unmap_operations = as_signed(statistics.discard.operations());
  stats.unmap_total_time_ns = as_signed(statistics.discard.total_time_ns());
  stats.failed_unmap_operations = as_signed(statistics.discard.failed());
  stats.flush_operations = as_signed(statistics.flush.operations());
  stats.flush_total_time_ns = as_signed(statistics.flush.total_time_ns());
  stats.failed_flush_operations = as_signed(statistics.flush.failed());
  return stats;
}

std::optional<schema::BlockStatsSpecific> specific_of(Node& node) {
  const FileStatistics* file = node.driver().file_statistics();
  if (file == nullptr) return std::nullopt;
  schema::BlockStatsSpecificFile stats{.discard_nb_ok = file->discards_succeeded,
                                       .discard_nb_failed = file->discards_failed,
                                       .discard_bytes_ok = file->discarded_bytes};
  schema::BlockStatsSpecific specific;
  if (node.driver().format_name() == "file") {
    specific.branch.emplace<static_cast<std::size_t>(schema::BlockdevDriver::kFile)>(stats);
  } else {
    specific.branch.emplace<static_cast<std::size_t>(schema::BlockdevDriver::kHostDevice)>(stats);
  }
  return specific;
}

schema::BlockStats statistics_of(Node& node) {
  schema::BlockStats stats;
  stats.node_name = node.name();
  stats.stats = stats_of(node.statistics());
  stats.driver_specific = specific_of(node);
  if (Node* image = image_node(node)) stats.parent.emplace(statistics_of(*image));
  return stats;
}

std::vector<schema::BlockPermission> list_of(PermissionSet set) {
  std::vector<schema::BlockPermission> list;
  // Both enumerations have the same order.
  for (Permission permission : kAllPermissions | std::views::reverse) {
    if (set.has(permission)) list.push_back(static_cast<schema::BlockPermission>(permission));
  }
  return list;
}

}  // namespace

aio::Task<std::vector<schema::BlockDeviceInfo>> named_block_nodes(Graph& graph, BackingImages backing_images) {
  // It fails only with the lock that is taken next.
  (void)co_await graph.resize_bitmaps();
  auto guard = co_await graph.keep_unchanged();
  std::vector<schema::BlockDeviceInfo> list;
  if (!guard) co_return list;
  for (const GraphNode& entry : graph.nodes() | std::views::reverse) {
    list.push_back(co_await info_of(graph, *entry.node, backing_images));
  }
  co_return list;
}

aio::Task<std::optional<std::uint64_t>> allocated_bytes(Graph& graph, std::string name) {
  auto guard = co_await graph.keep_unchanged();
  Node* node = guard ? graph.find(name) : nullptr;
  if (node == nullptr) co_return std::nullopt;
  co_return co_await node->driver().allocated_bytes();
}

std::vector<schema::BlockStats> block_statistics(const Graph& graph) {
  std::vector<schema::BlockStats> list;
  for (const GraphNode& entry : graph.nodes()) {
    list.push_back(statistics_of(*entry.node));
    list.back().node_name = entry.shown_name();
  }
  return list;
}

schema::XDbgBlockGraph block_graph(const Graph& graph) {
  schema::XDbgBlockGraph result;
  // Numbers in the order in which the edges mention them.
  std::unordered_map<const void*, std::uint64_t> numbers;
  auto number = [&](const void* what) { return numbers.try_emplace(what, numbers.size() + 1).first->second; };
  auto add_edge = [&](const void* parent, const Edge& edge) {
    result.edges.push_back({.parent = number(parent),
                            .child = number(&edge.node()),
                            .name = edge.name(),
                            .perm = list_of(edge.permissions().used),
                            .shared_perm = list_of(edge.permissions().shared)});
  };
  for (const GraphNode& entry : graph.nodes()) {
    for (const Edge& edge : entry.node->parents()) {
      if (!edge.is_root() || edge.parent().keeps_bitmap) continue;
      // Every holder of a root edge is shown as a device without a name.
      result.nodes.push_back({.id = number(&edge), .type = schema::XDbgBlockGraphNodeType::kBlockBackend, .name = ""});
      add_edge(&edge, edge);
    }
  }
  for (const GraphNode& entry : graph.nodes()) {
    const Node* const node = entry.node.get();
    result.nodes.push_back(
        {.id = number(node), .type = schema::XDbgBlockGraphNodeType::kBlockDriver, .name = node->name()});
    for (const Edge* child : entry.node->driver().children()) add_edge(node, *child);
  }
  // The newest first, as the reference lists them.
  std::ranges::reverse(result.nodes);
  std::ranges::reverse(result.edges);
  return result;
}

}  // namespace blockexport::block
