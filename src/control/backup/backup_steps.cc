#include "control/backup/backup_steps.h"

#include <fmt/format.h>

namespace blockexport::control {
namespace {

using schema::BlockdevDriver;

template <BlockdevDriver kDriver, class Branch>
block::AddNode node_step(const std::string& name, Branch branch) {
  // Discards of the disk's users pass through, and space of the scratch file is given back.
  schema::BlockdevOptions options{.node_name = name, .discard = schema::BlockdevDiscardOptions::kUnmap};
  options.branch.emplace<static_cast<std::size_t>(kDriver)>(std::move(branch));
  return {std::move(options)};
}

block::AddNode scratch_step(const BackupDisk& disk) {
  return node_step<BlockdevDriver::kFile>(disk.scratch_name,
                                          schema::BlockdevOptionsFile{.filename = disk.scratch_path});
}

block::AddNode filter_step(const Backup& backup, const BackupDisk& disk) {
  return node_step<BlockdevDriver::kCopyBeforeWrite>(
      disk.filter_name, schema::BlockdevOptionsCbw{.file = {disk.node_name},
                                                   .target = {disk.scratch_name},
                                                   .on_cbw_error = schema::OnCbwError::kBreakSnapshot,
                                                   .cbw_timeout = backup.copy_timeout_seconds,
                                                   .min_cluster_size = backup.cluster_bytes_min});
}

block::AddNode access_step(const BackupDisk& disk) {
  return node_step<BlockdevDriver::kSnapshotAccess>(disk.access_name,
                                                    schema::BlockdevOptionsGenericFormat{.file = {disk.filter_name}});
}

block::AttachEdge access_edge_step(const Backup& backup, BackupDisk& disk) {
  return {.name = disk.access_name,
          .parent = {.name = "root", .description = fmt::format("backup '{}'", backup.id)},
          .permissions = {.used = {}, .shared = block::PermissionSet::all()},
          .attached = &disk.access_edge};
}

block::HoldBitmaps hold_step(const Backup& backup, BackupDisk& disk) {
  return {.top = disk.node_name,
          .bitmaps = {{.node = disk.node_name, .name = next_bitmap_name(*backup.checkpoint)}},
          .held = &disk.recording};
}

}  // namespace

std::vector<block::GraphStep> begin_steps(Backup& backup) {
  std::vector<block::GraphStep> steps;
  // Nodes that refer to no other node come first, since they are opened before requests have to wait.
  for (const BackupDisk& disk : backup.disks) {
    if (disk.makes_scratch) steps.emplace_back(scratch_step(disk));
  }
  for (BackupDisk& disk : backup.disks) {
    steps.emplace_back(filter_step(backup, disk));
    steps.emplace_back(block::ReplaceNode{.name = disk.node_name, .by = disk.filter_name});
    if (backup.checkpoint) add_begin_steps(disk.node_name, *backup.checkpoint, disk.checkpoint, steps);
    steps.emplace_back(access_step(disk));
    steps.emplace_back(access_edge_step(backup, disk));
    if (backup.checkpoint) steps.emplace_back(hold_step(backup, disk));
  }
  return steps;
}

std::vector<block::GraphStep> end_steps(const block::Graph& graph, Backup& backup, schema::BackupOutcome outcome) {
  std::vector<block::GraphStep> steps;
  for (BackupDisk& disk : backup.disks) {
    steps.emplace_back(block::DetachEdge{&disk.access_edge});
    steps.emplace_back(block::RemoveNode{disk.access_name});
    // Filters of other backups may be between this one and the disk.
    steps.emplace_back(block::ReplaceNode{.name = disk.filter_name});
    // A disk that no command made may have lost its other users; then it goes with the filter.
    const block::Node* node = graph.find(disk.node_name);
    if (backup.checkpoint && node != nullptr) {
      add_end_steps(*node, *backup.checkpoint, disk.checkpoint, outcome, steps);
    }
    steps.emplace_back(block::RemoveNode{disk.filter_name});
    if (disk.makes_scratch) steps.emplace_back(block::RemoveNode{disk.scratch_name});
  }
  return steps;
}

}  // namespace blockexport::control
