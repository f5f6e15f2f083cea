// TableContent: an L2 table as bytes, and the host clusters that it refers to.
//
// Pure functions over any bytes of one cluster. Plain values; any thread.
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

class TableContent {
 public:
  TableContent(const Geometry& geometry, std::vector<std::byte> bytes)
      : geometry_(geometry), bytes_(std::move(bytes)) {}

  L2Entry entry(std::uint64_t index) const;
  void set_descriptor(std::uint64_t index, std::uint64_t descriptor);
  std::span<const std::byte> bytes() const { return bytes_; }

  // Returns true if an entry tells that its host cluster may be overwritten.
  bool has_copied_flags() const;
  void clear_copied_flags();
  // Every reference to a host cluster: one of a compressed cluster to each host cluster that it is in. Entries that are
  // not valid have none.
  std::vector<std::uint64_t> references() const;
  bool is_valid() const;

 private:
  Geometry geometry_;
  std::vector<std::byte> bytes_;
};

// The table at `offset`, which must be that of a cluster. Bytes past the end of the file are zeros.
aio::Task<std::expected<TableContent, Errno>> read_table(block::Node& file, const Geometry& geometry,
                                                         std::uint64_t offset);

// The number of the host cluster that an entry with a cluster of its own refers to; UINT64_MAX for any other.
std::uint64_t plain_cluster_of(const Geometry& geometry, const L2Entry& entry);

}  // namespace blockexport::drivers::qcow2
