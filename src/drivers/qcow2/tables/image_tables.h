// ImageTables: the L1 table and the cached L2 tables of an open qcow2 image: from a guest cluster to its entry.
//
// A lookup of a cached entry takes no lock. A slice that is missing is read once, however many tasks need it at the
// same time. Changes are made under the lock of the class and stand in memory only, until a commit writes them.
//
// Owned by the image's driver. Thread: any. A caller is inside the gate of an edge above, and keeps no entry longer
// than its pin of the image's clusters (tables/cluster_pins.h).
#pragma once

#include <atomic>
#include <expected>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "aio/sync/shared_event.h"
#include "aio/task/task.h"
#include "block/edge.h"
#include "drivers/qcow2/tables/l2_cache.h"

namespace blockexport::drivers::qcow2 {

class ImageTables {
 public:
  struct CacheSizes {
    std::uint64_t slice_bytes = 4096;
    std::uint64_t cache_bytes = 1u << 20;
  };

  // `l1`: the entries as they stand in the image, in the byte order of the host. `file` holds the tables.
  ImageTables(const Geometry& geometry, std::span<const std::uint64_t> l1, CacheSizes sizes, block::Edge& file);

  const Geometry& geometry() const { return geometry_; }
  std::uint64_t l1_size() const { return l1_size_; }
  // 0 past the end of the table.
  std::uint64_t l1_entry(std::uint64_t index) const {
    return index < l1_size_ ? l1_[index].load(std::memory_order_acquire) : 0;
  }

  // The entry of a guest cluster. EAGAIN: its slice is not in memory.
  std::expected<L2Entry, Errno> try_entry(std::uint64_t guest_cluster) const;
  // The same; reads the slice if need be. EIO: the L1 entry is not valid, so the image is corrupt.
  aio::Task<std::expected<L2Entry, Errno>> entry(std::uint64_t guest_cluster);
  // Makes the slice of a guest cluster that has an L2 table be in memory now; it may be evicted at any time.
  aio::Task<IoResult> load(std::uint64_t guest_cluster);

  // Drops slices that nobody uses: see L2Cache::drop_unused(). Returns false when there are no sets from `first` on.
  bool drop_unused_slices(std::size_t first, std::size_t count);

  // --- for changes, under mutex() ---

  std::mutex& mutex() { return mutex_; }
  L2Cache& cache() { return cache_; }
  void set_l1_entry(std::uint64_t index, std::uint64_t entry);
  // Replaces the table after a resize, while no request is under way.
  void set_l1(std::span<const std::uint64_t> entries);
  // Begins to write the changed L1 entries to the image. Returns their indices, in ascending order.
  std::vector<std::uint64_t> begin_l1_write();
  // The entries that begin_l1_write() returned are in the image.
  void end_l1_write();
  bool is_dirty() const { return cache_.dirty_count() != 0 || !changed_l1_.empty(); }

  // --- tables that a snapshot that is being taken shares (snapshots/frozen_state.h); under mutex() ---

  // Begins to freeze: from now on freeze() may be called for each index, while no request is under way.
  void begin_freezing();
  // The L2 table of that index belongs to a snapshot too, although neither its refcount nor the flags in the image say
  // so yet. In memory no cluster of it may be overwritten. Returns false if there is no table.
  bool freeze(std::uint64_t index);
  bool is_frozen(std::uint64_t index) const { return index < frozen_.size() && frozen_[index] != Frozen::kNot; }
  // The table is as the L1 entry says from now on, which has changed if `entry` is another one than the image's.
  void thaw(std::uint64_t index, std::uint64_t entry);
  // The L1 entry as it is to stand in the image.
  std::uint64_t l1_entry_for_image(std::uint64_t index) const {
    const bool copied = index < frozen_.size() && frozen_[index] == Frozen::kCopied;
    return l1_entry(index) | (copied ? kEntryCopied : 0);
  }

 private:
  // One read of a slice, and the tasks that wait for it.
  struct Load {
    explicit Load(std::uint64_t of) : slice(of) {}
    std::uint64_t slice;
    IoResult result;
    aio::SharedEvent ended{aio::SharedEvent::State::kReset, aio::Event::Cancellation::kIgnored};
  };

  aio::Task<IoResult> read_slice(std::uint64_t table_offset, Load& load);

  Geometry geometry_;
  block::Edge& file_;
  std::mutex mutex_;  // guards changes, and loads_
  std::unique_ptr<std::atomic<std::uint64_t>[]> l1_;
  std::uint64_t l1_size_ = 0;
  L2Cache cache_;
  std::vector<std::uint64_t> changed_l1_;
  std::size_t l1_in_writing_ = 0;                               // the first of changed_l1_
  enum class Frozen : std::uint8_t { kNot, kShared, kCopied };  // kCopied: the entry in the image has that flag
  std::vector<Frozen> frozen_;                                  // by index of the L1 table; may be shorter
  std::vector<std::shared_ptr<Load>> loads_;
};

}  // namespace blockexport::drivers::qcow2
