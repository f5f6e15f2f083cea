// Commands blockdev-snapshot and blockdev-snapshot-sync.

#include "control/commands/snapshot.h"

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

aio::Task<Result<>> blockdev_snapshot_internal_sync(Control&, schema::BlockdevSnapshotInternal) {
  co_return fail("Internal snapshots are not built yet");
}

aio::Task<Result<schema::SnapshotInfo>> blockdev_snapshot_delete_internal_sync(
    Control&, schema::BlockdevSnapshotDeleteInternalSyncArguments) {
  co_return fail("Internal snapshots are not built yet");
}

aio::Task<Result<>> blockdev_snapshot_sync(Control& control, schema::BlockdevSnapshotSync arguments) {
  co_return co_await take_one(control, std::move(arguments));
}

}  // namespace blockexport::control
