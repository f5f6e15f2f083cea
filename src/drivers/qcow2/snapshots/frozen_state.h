// FrozenState: the state of the disk at one moment, which is to become a snapshot while writers go on.
//
// At that moment, when no request is under way, every L2 table is frozen in memory: writers treat all clusters of it as
// shared. Then each table is shared with the snapshot (TableSharing), step by step, and at once when a writer needs it.
// When all are, the L1 table of that moment is that of the snapshot. Until a snapshot refers to it, the image has the
// references as leaks. If a step fails, there will be no snapshot, and writers go on all the same.
//
// Owned by the image's snapshots; outlives every request that might call thaw(). Thread: the control reactor; thaw() on
// any.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "block/range_lock.h"
#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// L2 tables that one step handles, in bytes; at least one table.
inline constexpr std::uint64_t kSnapshotStepBytesMax = 1u << 20;

class FrozenState final : public TableThawing {
 public:
  FrozenState(ImageParts& parts, std::uint64_t step_bytes) : parts_(parts), step_bytes_(step_bytes) {}

  // No request is under way, and nothing in memory differs from the image.
  aio::Task<void> freeze();
  // Shares all tables.
  aio::Task<IoResult> share_all();
  // Ends the freezing of tables that are not shared. share_all() has ended.
  aio::Task<void> abandon();

  // The L1 table of the moment, with the flags of entries cleared.
  const std::vector<std::uint64_t>& l1() const { return l1_; }
  // The same with the tables only that are shared. After abandon().
  const std::vector<std::uint64_t>& shared() const { return shared_; }

  aio::Task<void> thaw(std::uint64_t l1_index) override;

 private:
  std::vector<std::uint64_t> frozen_between(std::uint64_t begin, std::uint64_t end);
  aio::Task<IoResult> share(std::uint64_t begin, std::uint64_t end);

  ImageParts& parts_;
  const std::uint64_t step_bytes_;
  std::vector<std::uint64_t> l1_;
  std::vector<std::uint64_t> shared_;
  std::vector<std::uint64_t>
      lost_;                      // indices of tables that are not shared and not frozen; under the lock of the tables
  block::RangeLock steps_;        // of L1 indices
  std::atomic<int> failure_ = 0;  // the first error of a step
};

}  // namespace blockexport::drivers::qcow2
