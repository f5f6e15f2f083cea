// Allocator: takes and frees host clusters of an open image; reads the refcount blocks that it needs.
//
// Owned by the image's writer; the ImageTables, whose lock guards its state, outlive it. Thread: any.
#pragma once

#include <atomic>
#include <expected>
#include <span>
#include <vector>

#include "aio/task/task.h"
#include "block/edge.h"
#include "drivers/qcow2/commit/freed_clusters.h"
#include "drivers/qcow2/refcounts/refcounts.h"
#include "drivers/qcow2/tables/cluster_pins.h"
#include "drivers/qcow2/tables/image_tables.h"
#include "drivers/qcow2/tables/metadata_clusters.h"

namespace blockexport::drivers::qcow2 {

// Clusters that an allocation returned.
struct Allocated {
  HostClusters clusters;
  // Nothing was ever written there, and the file ends before them: they read as zeros.
  bool is_fresh = false;
};

class Allocator {
 public:
  static constexpr std::uint64_t kReclaimedAtOnceMax = 4096;
  // Refcounts that one step changes under the lock of the tables.
  static constexpr std::size_t kCountedAtOnceMax = 1024;

  struct Options {
    std::size_t clean_blocks_max = 4;  // refcount blocks that stay in memory without need
    // Clusters at or behind this offset were never written: the size of the file when it was opened, if the file can
    // grow; else UINT64_MAX.
    std::uint64_t fresh_from = UINT64_MAX;
  };

  Allocator(ImageTables& tables, ClusterPins& pins, Refcounts refcounts, MetadataClusters& metadata, block::Edge& file,
            Options options);

  // Takes at least 1 and at most `count_max` consecutive clusters. EFBIG: the image has its largest size. EIO: the
  // image is corrupt, see is_corrupt().
  aio::Task<std::expected<Allocated, Errno>> allocate(std::uint64_t count_max);
  aio::Task<std::expected<Allocated, Errno>> allocate_exactly(std::uint64_t count);
  // Takes `bytes` bytes, fewer than a cluster has, of clusters that such calls share. Returns their offset. Each
  // cluster has one reference for them, which free() gives up.
  aio::Task<std::expected<std::uint64_t, Errno>> allocate_bytes(std::uint64_t bytes);

  // Clusters that no table in memory refers to any more, or never did. Under the lock of the tables.
  void free(FreedRun run) { freed_.add(run); }

  // Decreases the refcounts of freed clusters that nothing uses any more, so that they can be allocated again. The
  // first error, after which the rest stays freed.
  aio::Task<IoResult> reclaim();

  // The refcount of a cluster.
  aio::Task<std::expected<std::uint64_t, Errno>> refcount(std::uint64_t cluster);
  // Those of at most kCountedAtOnceMax clusters, in their order.
  aio::Task<std::expected<std::vector<std::uint64_t>, Errno>> refcounts_of(std::span<const std::uint64_t> clusters);

  // Found a contradiction in the image's metadata: nothing may be written to it any more.
  bool is_corrupt() const { return is_corrupt_.load(std::memory_order_relaxed); }

  // Gives the refcount table another place, unless it has one that is not in the image yet.
  aio::Task<IoResult> move_refcount_table();
  // Gives the refcount blocks of these clusters another place too, so that the next commit exchanges them and the L1
  // table at once (MetadataWriter::move_l1). They stay in memory until then.
  aio::Task<IoResult> relocate_blocks(std::span<const std::uint64_t> clusters);
  // Changes the refcount of each cluster by one, again for each time that it is listed. An error: nothing has changed.
  // EINVAL: a refcount has its largest value.
  aio::Task<IoResult> increase(std::span<const std::uint64_t> clusters);
  // The same. EIO, perhaps after some of them: one of them has no reference, so the image is corrupt.
  aio::Task<IoResult> decrease(std::span<const std::uint64_t> clusters);

  // --- under the lock of the tables ---
  Refcounts& refcounts() { return refcounts_; }
  FreedClusters& freed() { return freed_; }
  MetadataClusters& metadata() { return metadata_; }

 private:
  // Removes the obstacle, so that the call can be tried again.
  aio::Task<IoResult> overcome(Refcounts::Blocked blocked);
  aio::Task<IoResult> load_block(std::uint64_t block);
  aio::Task<IoResult> decrease(FreedRun& run);
  // Removes from `run` the clusters that it has done, at most kReclaimedAtOnceMax. Returns what ended it early.
  std::optional<Refcounts::Blocked> decrease_some(FreedRun& run, std::uint64_t count_max);
  IoResult grow_table(std::uint64_t full_entries);
  // Under the lock of the tables.
  Refcounts::Answer<HostClusters> relocate_block_of(std::uint64_t cluster);
  Refcounts::Answer<HostClusters> move_table();
  // Returns the number of clusters that it has done.
  aio::Task<std::size_t> count(std::span<const std::uint64_t> clusters, Refcounts::Step step, IoResult& result);
  // Number of clusters at the beginning of `run` that only it refers to; at most kReclaimedAtOnceMax.
  aio::Task<std::expected<std::uint64_t, Errno>> sole_clusters(FreedRun run);
  Allocated note_allocated(HostClusters clusters);

  ImageTables& tables_;
  ClusterPins& pins_;
  MetadataClusters& metadata_;
  block::Edge& file_;
  Options options_;
  Refcounts refcounts_;
  FreedClusters freed_;
  std::atomic<bool> is_corrupt_ = false;
};

}  // namespace blockexport::drivers::qcow2
