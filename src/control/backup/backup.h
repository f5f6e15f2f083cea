// Backup: a running backup of some disks, made by backup-begin: its disks, and what it holds of the graph for each.
//
// Owned by Backups. Nodes and exports are named, never referred to; the edges and bitmaps that it owns keep other
// commands from removing its nodes and from changing the bitmaps that record for it. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/edge.h"
#include "block/graph.h"
#include "block/held_bitmap.h"
#include "control/backup/checkpoint.h"

namespace blockexport::control {

struct BackupDisk {
  std::string node_name;
  std::uint64_t size_bytes = 0;
  std::string export_name;  // over NBD
  std::string export_id;
  // The copy-before-write node above the disk, the snapshot-access node above it, and the node of the old contents.
  std::string filter_name;
  std::string access_name;
  std::string scratch_name;
  bool makes_scratch = false;     // the scratch node is a file that the backup makes and removes
  std::string scratch_path = {};  // of that file, for the change that opens it
  CheckpointPlan checkpoint = {};

  // While the backup runs: a root edge to the access node, and the bitmap that records for the next backup, if any.
  std::unique_ptr<block::Edge> access_edge = {};
  std::vector<block::HeldBitmap> recording = {};
};

struct Backup {
  // Longer ids would make names of nodes that are too long: "ID-255-scratch".
  static constexpr std::size_t kIdBytesMax = block::Graph::kNodeNameBytesMax - 12;
  static constexpr std::size_t kDisksMax = 256;
  static constexpr std::uint32_t kCopyTimeoutSecondsDefault = 45;

  std::string id;
  std::optional<std::string> checkpoint;
  // Options of the copy-before-write nodes.
  std::uint32_t copy_timeout_seconds = kCopyTimeoutSecondsDefault;  // 0: no limit
  std::optional<std::uint64_t> cluster_bytes_min = {};
  std::vector<BackupDisk> disks = {};

  bool is_running = false;         // the change that begins it has succeeded, and its exports were made
  std::int64_t point_wall_us = 0;  // the moment of the point in time
};

}  // namespace blockexport::control
