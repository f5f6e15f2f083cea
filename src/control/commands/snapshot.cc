// Commands blockdev-snapshot, blockdev-snapshot-sync, and those of snapshots inside images.

#include "control/commands/snapshot.h"

#include "block/image_snapshots.h"
#include "control/core/control.h"
#include "schema/block_snapshot_commands.h"

namespace blockexport::control {
namespace {

template <class Arguments>
aio::Task<Result<>> take_one(Control& control, Arguments arguments) {
  Snapshots snapshots(control);
  std::vector<block::GraphStep> steps;
  steps.push_back(snapshots.take(std::move(arguments)));
  CO_TRY(co_await control.graph().apply(std::move(steps)));
  co_await snapshots.settle();
  co_return Result<>();
}

}  // namespace

block::GraphStep internal_step(schema::BlockdevSnapshotInternal arguments) {
  return block::TakeImageSnapshot{.device = std::move(arguments.device), .name = std::move(arguments.name)};
}

block::GraphStep Snapshots::take(schema::BlockdevSnapshot arguments) {
  taken_.push_back({.node = arguments.node, .overlay = arguments.overlay});
  return block::TakeSnapshot{.node = std::move(arguments.node), .overlay = std::move(arguments.overlay)};
}

block::GraphStep Snapshots::take(schema::BlockdevSnapshotSync arguments) {
  const std::string node = arguments.node_name.value_or("");
  taken_.push_back({.node = node, .overlay = arguments.snapshot_node_name.value_or("")});
  OverlayImage& image = images_.emplace_back(control_.reactor(), control_.drivers(), control_.log().trace(), arguments);
  return block::AddOverlay{.device = arguments.device.value_or(""),
                           .node = node,
                           .overlay = std::move(arguments.snapshot_node_name),
                           .source = &image};
}

aio::Task<void> Snapshots::settle() {
  for (const Taken& one : taken_) control_.exports().node_overlaid(one.node, one.overlay);
  // The size of an export's node may be another one now.
  if (!taken_.empty()) control_.exports().nodes_resized();
  for (const Taken& one : taken_) co_await control_.graph().settle_snapshot(one.node, one.overlay);
}

aio::Task<Result<>> blockdev_snapshot(Control& control, schema::BlockdevSnapshot arguments) {
  co_return co_await take_one(control, std::move(arguments));
}

aio::Task<Result<>> blockdev_snapshot_internal_sync(Control& control, schema::BlockdevSnapshotInternal arguments) {
  std::vector<block::GraphStep> steps;
  steps.push_back(internal_step(std::move(arguments)));
  co_return co_await control.graph().apply(std::move(steps));
}

aio::Task<Result<schema::SnapshotInfo>> blockdev_snapshot_delete_internal_sync(
    Control& control, schema::BlockdevSnapshotDeleteInternalSyncArguments arguments) {
  block::ImageSnapshot deleted;
  std::vector<block::GraphStep> steps;
  steps.push_back(block::DeleteImageSnapshot{.device = std::move(arguments.device),
                                             .id = std::move(arguments.id),
                                             .name = std::move(arguments.name),
                                             .deleted = &deleted});
  CO_TRY(co_await control.graph().apply(std::move(steps)));
  constexpr std::uint64_t kSecondNs = 1'000'000'000;
  schema::SnapshotInfo info{.id = deleted.id,
                            .name = deleted.name,
                            .vm_state_size = static_cast<std::int64_t>(deleted.vm_state_bytes),
                            .date_sec = deleted.date_seconds,
                            .date_nsec = deleted.date_nanoseconds,
                            .vm_clock_sec = static_cast<std::int64_t>(deleted.vm_clock_ns / kSecondNs),
                            .vm_clock_nsec = static_cast<std::int64_t>(deleted.vm_clock_ns % kSecondNs)};
  if (deleted.instruction_count) info.icount = static_cast<std::int64_t>(*deleted.instruction_count);
  co_return info;
}

aio::Task<Result<>> blockdev_snapshot_sync(Control& control, schema::BlockdevSnapshotSync arguments) {
  co_return co_await take_one(control, std::move(arguments));
}

}  // namespace blockexport::control
