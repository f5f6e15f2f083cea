#include "drivers/foreign/mapped_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "aio/task/current.h"
#include "block/backing_names.h"
#include "block/graph.h"
#include "block/reopen_children.h"
#include "drivers/foreign/read_only.h"

namespace blockexport::drivers::foreign {

using block::Permission;
using block::Permissions;
using block::PermissionSet;
using block::Range;

namespace {

// No larger grain than those that the open functions accept.
std::uint64_t largest_grain(const std::vector<MappedExtent>& extents) {
  std::uint64_t bytes = 0;
  for (const MappedExtent& extent : extents) {
    if (extent.table && extent.table->is_compressed) bytes = std::max(bytes, extent.table->block_bytes);
  }
  return bytes;
}

// The ID of the content of a VMDK image; nothing for a node of another driver.
std::optional<std::int64_t> content_id(block::Node& node) {
  if (node.driver().format_name() != "vmdk") return std::nullopt;
  schema::ImageInfo info;
  node.driver().describe_image(info);
  if (!info.format_specific) return std::nullopt;
  const auto* vmdk = info.format_specific->as_if<schema::ImageInfoSpecificKind::kVmdk>();
  return vmdk == nullptr ? std::nullopt : std::optional(vmdk->data.cid);
}

}  // namespace

MappedDriver::MappedDriver(MappedImage image)
    : image_(std::move(image)),
      disk_(std::move(image_.extents)),
      grains_(largest_grain(disk_.extents())),
      is_right_backing_(has_right_backing()) {}

bool MappedDriver::has_right_backing() const {
  if (image_.backing == nullptr || !image_.vmdk) return true;
  return content_id(image_.backing->node()) == image_.vmdk->parent_cid;
}

block::Limits MappedDriver::limits() const {
  return {.request_alignment = image_.request_alignment, .optimal_bytes = file().node().limits().optimal_bytes};
}

std::vector<block::Edge*> MappedDriver::children() const {
  std::vector<block::Edge*> list;
  if (image_.backing != nullptr) list.push_back(image_.backing.get());
  for (const auto& file : image_.files) list.push_back(file.get());
  return list;
}

Permissions MappedDriver::child_permissions(const block::Edge& child, const Permissions& own, bool) const {
  if (&child == image_.backing.get()) {
    PermissionSet shared = Permission::kConsistentRead | Permission::kWriteUnchanged;
    if (own.shared.has(Permission::kWrite)) shared = PermissionSet::all();
    return {.used = own.used & Permission::kConsistentRead, .shared = shared};
  }
  // The tables are read once, so nobody may change them.
  return {.used = own.used | Permission::kConsistentRead,
          .shared = (own.shared | Permission::kWriteUnchanged) - (Permission::kWrite | Permission::kResize)};
}

std::optional<std::string> MappedDriver::backing_name() const {
  if (!image_.backing_name) return std::nullopt;
  return block::full_backing_name(file().node().driver().filename(), *image_.backing_name);
}

void MappedDriver::describe_image(schema::ImageInfo& info) const {
  if (image_.cluster_bytes != 0) info.cluster_size = static_cast<std::int64_t>(image_.cluster_bytes);
  if (!image_.shows_dirty_flag) info.dirty_flag.reset();
  if (image_.backing_name) {
    info.backing_filename = *image_.backing_name;
    info.full_backing_filename = backing_name();
    // The parent of an image of VMDK is one, too.
    info.backing_filename_format = image_.format_name;
  }
  if (!image_.vmdk) return;
  constexpr auto kIndex = static_cast<std::size_t>(schema::ImageInfoSpecificKind::kVmdk);
  info.format_specific.emplace().branch.emplace<kIndex>(schema::ImageInfoSpecificVmdkWrapper{*image_.vmdk});
}

aio::Task<std::expected<block::DataPlace, Errno>> MappedDriver::locate(Range range) {
  CO_TRY_ASSIGN(const DiskRun run, co_await disk_.find(range));
  block::DataPlace place{.length = run.length};
  switch (run.kind) {
    case BlockKind::kInvalid:
    case BlockKind::kUnallocated:
      break;
    case BlockKind::kZero:
      place.kind = block::DataPlaceKind::kZero;
      break;
    case BlockKind::kCompressed:
      place.kind = block::DataPlaceKind::kCompressed;
      break;
    case BlockKind::kData:
      place.kind = block::DataPlaceKind::kData;
      place.node = &run.extent->file->node();
      place.offset = run.offset;
      break;
  }
  co_return place;
}

Result<> MappedDriver::prepare_backing(const schema::BlockdevOptions& after, block::ReopenChildren& children) {
  const auto* vmdk = after.as_if<schema::BlockdevDriver::kVmdk>();
  if (vmdk == nullptr) return {};
  if (!vmdk->backing) {
    if (image_.backing == nullptr && !image_.backing_name) return {};
    return fail(fmt::format("backing is missing for '{}'", children.node_name()));
  }
  const std::optional<schema::BlockdevRef> reference = block::as_reference(*vmdk->backing);
  if (!reference) {
    if (image_.backing == nullptr) return {};
    children.drop_child(*image_.backing);
    dropped_backing_ = std::move(image_.backing);
    return {};
  }
  // The graph has moved an edge that there was before.
  if (image_.backing != nullptr) return {};
  TRY_ASSIGN(image_.backing, children.add_child(*reference, "backing", block::ChildRole::kBacking));
  has_added_backing_ = true;
  return {};
}

aio::Task<Result<>> MappedDriver::prepare_reopen(const schema::BlockdevOptions&, const schema::BlockdevOptions& after,
                                                 block::NodeOptions& node_options, block::ReopenChildren& children) {
  CO_TRY(check_read_only(after, image_.format_name));
  node_options.read_only = true;
  co_return prepare_backing(after, children);
}

aio::Task<void> MappedDriver::commit_reopen() {
  has_added_backing_ = false;
  dropped_backing_.reset();
  is_right_backing_ = has_right_backing();
  co_return;
}

aio::Task<void> MappedDriver::abort_reopen() {
  if (std::exchange(has_added_backing_, false)) image_.backing.reset();
  if (dropped_backing_ != nullptr) image_.backing = std::move(dropped_backing_);
  co_return;
}

}  // namespace blockexport::drivers::foreign
