// CheckState: an image under check, and what the passes of the check have found so far.
//
// Made by check_image(), which outlives the passes; they run one after the other. Not for users of the check.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"
#include "drivers/qcow2/check/check_report.h"
#include "drivers/qcow2/check/reference_counts.h"
#include "drivers/qcow2/format/bitmap_directory.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"
#include "drivers/qcow2/format/snapshot_table.h"

namespace blockexport::drivers::qcow2 {

// Reserved bits of entries, by the specification.
inline constexpr std::uint64_t kL1EntryReserved = 0x7f00'0000'0000'01ff;
inline constexpr std::uint64_t kL2EntryReserved = 0x3f00'0000'0000'01fe;
inline constexpr std::uint64_t kRefcountEntryReserved = 0x1ff;

// An L2 table, and the number of L1 entries that refer to it.
struct CheckedTable {
  std::uint64_t offset = 0;
  std::uint32_t active = 0;  // entries of the active L1 table
  std::uint32_t all = 0;     // and of those of snapshots
};

struct CheckState {
  block::Node& file;
  CheckOptions options;
  Header header;
  HeaderExtensions extensions;
  Geometry geometry;
  CheckReport report = {};

  ReferenceCounts references;
  // Clusters whose refcount is 1, each with the count 1.
  ReferenceCounts refcount_ones;
  std::vector<std::uint64_t> refcount_table = {};
  // Numbers of refcount blocks that cannot be read, ascending.
  std::vector<std::uint64_t> unreadable_blocks = {};
  std::vector<CheckedTable> l2_tables = {};  // by offset, each once
  // There are clusters whose refcounts no valid block holds.
  bool needs_rebuild = false;
  // Not all references are known, so that a repair could free clusters in use.
  bool is_incomplete = false;
  // Entries with a reserved cluster at an unaligned offset, which can go without loss of data.
  std::uint64_t droppable_entries = 0;

  std::uint64_t file_clusters() const { return geometry.cluster_of(geometry.round_up(file.size_bytes())); }
  std::uint64_t checked_clusters() const { return std::max(file_clusters(), references.end()); }
  void corrupt(std::string finding, std::uint64_t times = 1);
  void leak(std::string finding);
  void unreadable(std::string finding, std::uint64_t times = 1);
  void note(std::string finding);
};

// The word at `index` of a table as it stands in an image.
std::uint64_t table_word(std::span<const std::byte> bytes, std::size_t index);
void set_table_word(std::span<std::byte> bytes, std::size_t index, std::uint64_t word);

// Bytes past the end of the file are zeros. ECANCELED also for a cancelled task.
aio::Task<IoResult> read_file(block::Node& file, std::uint64_t offset, std::span<std::byte> bytes);
// Makes the file larger if needed.
aio::Task<Result<>> write_file(block::Node& file, std::uint64_t offset, std::span<std::byte> bytes);
aio::Task<Result<>> flush_file(block::Node& file);

}  // namespace blockexport::drivers::qcow2
