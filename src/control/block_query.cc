// query-named-block-nodes, query-block, query-blockstats, x-debug-query-block-graph.

#include <fmt/format.h>

#include <map>

#include "control/control.h"
#include "drivers/file/file_driver.h"
#include "json/writer.h"
#include "schema/block_node_info_commands.h"
#include "schema/block_stats_commands.h"
#include "schema/codec.h"

namespace blockexport::control {
namespace {

// What a node stands on, as a person would name it: a file's name, or the options that differ from the defaults.
std::string filename_of(const block::GraphNode& entry) {
  std::string filename = entry.node->driver().filename();
  if (!filename.empty()) return filename;
  json::Value options = schema::encode(entry.options);
  json::Object* members = options.as_object();
  for (const char* common : {"node-name", "discard", "cache", "read-only", "auto-read-only", "force-share",
                             "detect-zeroes"}) {
    members->erase(common);
  }
  if (members->size() == 1 && entry.node->driver().format_name() == "null-co") return "null-co://";
  if (members->size() == 1 && entry.node->driver().format_name() == "null-aio") return "null-aio://";
  return "json:" + json::to_string(options);
}

schema::BlockdevDetectZeroesOptions detect_zeroes_of(block::DetectZeroes mode) {
  switch (mode) {
    case block::DetectZeroes::kOff:
      return schema::BlockdevDetectZeroesOptions::kOff;
    case block::DetectZeroes::kOn:
      return schema::BlockdevDetectZeroesOptions::kOn;
    case block::DetectZeroes::kUnmap:
      return schema::BlockdevDetectZeroesOptions::kUnmap;
  }
  __builtin_unreachable();
}

aio::Task<schema::BlockDeviceInfo> device_info(const block::GraphNode& entry) {
  block::Node& node = *entry.node;
  std::string filename = filename_of(entry);
  std::optional<std::uint64_t> allocated = co_await node.driver().allocated_bytes();
  schema::ImageInfo image{.filename = filename,
                          .format = std::string(node.driver().format_name()),
                          .virtual_size = static_cast<std::int64_t>(node.size_bytes())};
  if (allocated) image.actual_size = static_cast<std::int64_t>(*allocated);
  if (node.driver().format_name() == "file") image.format_specific.emplace();
  schema::BlockDeviceInfo info{.file = filename,
                               .node_name = node.name(),
                               .ro = node.read_only(),
                               .drv = std::string(node.driver().format_name()),
                               .active = true,
                               .detect_zeroes = detect_zeroes_of(node.options().detect_zeroes),
                               .image = std::move(image)};
  info.cache = {
      .writeback = true, .direct = node.options().cache_direct, .no_flush = node.options().cache_no_flush};
  co_return info;
}

std::int64_t as_signed(std::uint64_t value) { return static_cast<std::int64_t>(value); }

schema::BlockStats stats_of(block::Node& node) {
  const block::NodeStatistics& counted = node.statistics();
  schema::BlockStats stats{.node_name = node.name()};
  stats.stats.rd_bytes = as_signed(counted.read.bytes());
  stats.stats.rd_operations = as_signed(counted.read.operations());
  stats.stats.rd_total_time_ns = as_signed(counted.read.total_time_ns());
  stats.stats.failed_rd_operations = as_signed(counted.read.failed());
  // Zeroes are written, too.
  stats.stats.wr_bytes = as_signed(counted.write.bytes() + counted.write_zeroes.bytes());
  stats.stats.wr_operations = as_signed(counted.write.operations() + counted.write_zeroes.operations());
  stats.stats.wr_total_time_ns = as_signed(counted.write.total_time_ns() + counted.write_zeroes.total_time_ns());
  stats.stats.failed_wr_operations = as_signed(counted.write.failed() + counted.write_zeroes.failed());
  stats.stats.wr_highest_offset = as_signed(counted.highest_written_offset());
  stats.stats.flush_operations = as_signed(counted.flush.operations());
  stats.stats.flush_total_time_ns = as_signed(counted.flush.total_time_ns());
  stats.stats.failed_flush_operations = as_signed(counted.flush.failed());
  stats.stats.unmap_bytes = as_signed(counted.discard.bytes());
  stats.stats.unmap_operations = as_signed(counted.discard.operations());
  stats.stats.unmap_total_time_ns = as_signed(counted.discard.total_time_ns());
  stats.stats.failed_unmap_operations = as_signed(counted.discard.failed());
  if (node.driver().format_name() == "file" || node.driver().format_name() == "host_device") {
    const auto& file = static_cast<drivers::FileDriver&>(node.driver()).statistics();
    schema::BlockStatsSpecificFile specific{.discard_nb_ok = file.discards_succeeded,
                                            .discard_nb_failed = file.discards_failed,
                                            .discard_bytes_ok = file.discarded_bytes};
    stats.driver_specific.emplace();
    if (node.driver().format_name() == "file") {
      stats.driver_specific->branch.emplace<static_cast<std::size_t>(schema::BlockdevDriver::kFile)>(specific);
    } else {
      stats.driver_specific->branch.emplace<static_cast<std::size_t>(schema::BlockdevDriver::kHostDevice)>(specific);
    }
  }
  for (block::Edge* child : node.driver().children()) {
    if (child->role() == "file") stats.parent = schema::Box<schema::BlockStats>(stats_of(child->node()));
  }
  return stats;
}

std::vector<schema::BlockPermission> permission_list(block::PermissionSet set) {
  std::vector<schema::BlockPermission> list;
  const std::pair<block::Permission, schema::BlockPermission> kPairs[] = {
      {block::Permission::kConsistentRead, schema::BlockPermission::kConsistentRead},
      {block::Permission::kWrite, schema::BlockPermission::kWrite},
      {block::Permission::kWriteUnchanged, schema::BlockPermission::kWriteUnchanged},
      {block::Permission::kResize, schema::BlockPermission::kResize}};
  for (const auto& [ours, theirs] : kPairs) {
    if (set.has(ours)) list.push_back(theirs);
  }
  return list;
}

}  // namespace

aio::Task<Result<std::vector<schema::BlockDeviceInfo>>> query_named_block_nodes(Control& control,
                                                                                schema::QueryNamedBlockNodesArguments) {
  std::vector<schema::BlockDeviceInfo> listed;
  // The list may change while a file system is asked: by name, then.
  std::vector<std::string> names;
  for (const block::GraphNode& entry : control.graph().nodes()) names.push_back(entry.node->name());
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    for (const block::GraphNode& entry : control.graph().nodes()) {
      if (entry.node->name() != *name) continue;
      listed.push_back(co_await device_info(entry));
      break;
    }
  }
  co_return listed;
}

aio::Task<Result<std::vector<schema::BlockInfo>>> query_block(Control&) {
  // Only devices of guests are listed, and there are none.
  co_return std::vector<schema::BlockInfo>{};
}

aio::Task<Result<std::vector<schema::BlockStats>>> query_blockstats(Control& control,
                                                                    schema::QueryBlockstatsArguments arguments) {
  std::vector<schema::BlockStats> listed;
  if (!arguments.query_nodes.value_or(false)) co_return listed;
  for (const block::GraphNode& entry : control.graph().nodes()) listed.push_back(stats_of(*entry.node));
  co_return listed;
}

aio::Task<Result<schema::XDbgBlockGraph>> x_debug_query_block_graph(Control& control) {
  schema::XDbgBlockGraph graph;
  std::map<const void*, std::uint64_t> numbers;
  auto number_of = [&](const void* vertex, schema::XDbgBlockGraphNodeType type, const std::string& name) {
    auto [found, is_new] = numbers.try_emplace(vertex, numbers.size() + 1);
    if (is_new) graph.nodes.push_back({.id = found->second, .type = type, .name = name});
    return found->second;
  };
  for (const block::GraphNode& entry : control.graph().nodes()) {
    std::uint64_t child = number_of(entry.node.get(), schema::XDbgBlockGraphNodeType::kBlockDriver, entry.node->name());
    for (block::Edge& edge : entry.node->parents()) {
      std::uint64_t parent =
          edge.is_root() ? number_of(&edge, schema::XDbgBlockGraphNodeType::kBlockBackend, "")
                         : number_of(edge.parent().node, schema::XDbgBlockGraphNodeType::kBlockDriver,
                                     edge.parent().node->name());
      graph.edges.push_back({.parent = parent,
                             .child = child,
                             .name = edge.role(),
                             .perm = permission_list(edge.permissions().used),
                             .shared_perm = permission_list(edge.permissions().shared)});
    }
  }
  co_return graph;
}

}  // namespace blockexport::control
