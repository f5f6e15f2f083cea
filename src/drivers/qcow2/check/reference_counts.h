// ReferenceCounts: numbers of references to the clusters of an image's file, in memory that grows with the use.
//
// A count has one, two or four bytes, by the width of the image's refcounts, and does not exceed the greatest refcount.
// Chunks without references take no memory. One owner; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <vector>

#include "base/errno.h"

namespace blockexport::drivers::qcow2 {

class ReferenceCounts {
 public:
  static constexpr std::uint64_t kChunkClusters = 4096;

  // A refcount has 1 << `refcount_order` bits.
  ReferenceCounts(unsigned refcount_order, std::uint64_t memory_bytes_max);

  // The count of one cluster.
  std::uint64_t at(std::uint64_t cluster) const;
  // Adds `times` references. Gives the number of those that the greatest refcount could not take; ENOMEM: the limit of
  // memory is reached.
  std::expected<std::uint64_t, Errno> add(std::uint64_t cluster, std::uint64_t times);
  // One behind the last cluster that add() was called for.
  std::uint64_t end() const { return end_; }
  // The first cluster from `cluster` on, and before `end`, that may have references; `end` if there is none.
  std::uint64_t next_counted(std::uint64_t cluster, std::uint64_t end) const;
  void clear();

 private:
  std::uint64_t value(const std::byte* chunk, std::uint64_t index) const;
  void set_value(std::byte* chunk, std::uint64_t index, std::uint64_t value) const;

  unsigned count_bytes_;
  std::uint64_t max_;
  std::uint64_t memory_bytes_max_;
  std::uint64_t memory_bytes_ = 0;
  std::uint64_t end_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
};

}  // namespace blockexport::drivers::qcow2
