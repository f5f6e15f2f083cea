// TableContent: an L2 table as bytes, and the host clusters that it refers to.
//
// Functions over any bytes of one cluster. A pass over a table takes a turn of the event loop for so many entries
// (kTableEntriesPerStepMax): other requests of the reactor are answered meanwhile. Plain values; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "aio/task/task.h"
#include "base/errno.h"
#include "block/node.h"
#include "drivers/qcow2/format/l2_entry.h"

namespace blockexport::drivers::qcow2 {

// Entries of an L2 table that one turn of the event loop handles: some 10 us.
inline constexpr std::uint64_t kTableEntriesPerStepMax = 2048;

class TableContent {
 public:
  TableContent(const Geometry& geometry, std::vector<std::byte> bytes)
      : geometry_(geometry), bytes_(std::move(bytes)) {}

  L2Entry entry(std::uint64_t index) const;
  void set_descriptor(std::uint64_t index, std::uint64_t descriptor);
  std::span<const std::byte> bytes() const { return bytes_; }

  std::uint64_t entries() const { return geometry_.l2_entries(); }
  const Geometry& geometry() const { return geometry_; }

 private:
  Geometry geometry_;
  std::vector<std::byte> bytes_;
};

struct TableReferences {
  // Every reference to a host cluster: one of a compressed cluster to each host cluster that it is in.
  std::vector<std::uint64_t> clusters;
  bool is_valid = true;           // false: an entry is not valid, and has no reference
  bool has_copied_flags = false;  // an entry tells that its host cluster may be overwritten
};
// `table` outlives the task.
aio::Task<TableReferences> find_references(const TableContent& table);
aio::Task<void> clear_copied_flags(TableContent& table);

// The table at `offset`, which must be that of a cluster. Bytes past the end of the file are zeros.
aio::Task<std::expected<TableContent, Errno>> read_table(block::Node& file, const Geometry& geometry,
                                                         std::uint64_t offset);

// The number of the host cluster that an entry with a cluster of its own refers to; UINT64_MAX for any other.
std::uint64_t plain_cluster_of(const Geometry& geometry, const L2Entry& entry);

}  // namespace blockexport::drivers::qcow2
