// Refcounts: the refcounts of an image's host clusters: which clusters are free, and the allocation of free ones.
//
// Refcount blocks are in memory as far as they were needed; the owner loads a missing one and tries again. Changes
// stand in memory only, until a commit writes them (see begin_write()). A function that cannot do all of its work
// changes nothing.
//
// Owned by the image's Allocator. Thread: any, under the lock of ImageTables. Source: docs/interop/qcow2.rst of QEMU,
// "Host cluster management".
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <span>
#include <vector>

#include "drivers/qcow2/format/geometry.h"
#include "drivers/qcow2/tables/metadata_clusters.h"

namespace blockexport::drivers::qcow2 {

// Consecutive host clusters, by their numbers.
struct HostClusters {
  std::uint64_t first = 0;
  std::uint64_t count = 0;

  friend bool operator==(const HostClusters&, const HostClusters&) = default;
};

class Refcounts {
 public:
  enum class Obstacle : std::uint8_t {
    kBlockNotLoaded,  // load the block with insert_block(), and try again
    kTableFull,       // the refcount table describes no free cluster: grow_table(), and try again
    kTableTooLarge,   // the image has reached its largest size
    kCorrupt,         // the refcounts contradict other metadata
    kOverflow,        // the refcount is the largest that its bits hold
  };
  struct Blocked {
    Obstacle obstacle;
    std::uint64_t block = 0;          // kBlockNotLoaded
    std::uint64_t table_entries = 0;  // kTableFull: number of entries of the table that is full
  };
  template <class T>
  using Answer = std::expected<T, Blocked>;

  // `table`: offsets of refcount blocks, in the byte order of the host; `table_offset` where it stands in the image.
  // Both must be checked. `metadata` outlives this; allocations never return its clusters, and new blocks join it.
  Refcounts(const Geometry& geometry, std::vector<std::uint64_t> table, std::uint64_t table_offset,
            MetadataClusters& metadata);

  // Host offset of the refcount block of that index; 0: there is none.
  std::uint64_t block_offset(std::uint64_t block) const { return block < table_.size() ? table_[block] : 0; }
  bool holds_block(std::uint64_t block) const { return blocks_.contains(block); }
  // Puts a block in, as it stands in the image; evicts clean ones above `clean_blocks_max`. Does nothing when it is
  // here already, or when a block was evicted since the caller had `evictions` before it read: it may have been this
  // one, with changes.
  void insert_block(std::uint64_t block, std::span<const std::byte> bytes, std::size_t clean_blocks_max,
                    std::uint64_t evictions);
  std::uint64_t evictions() const { return evictions_; }

  // Takes at least 1 and at most `count_max` consecutive free clusters, each with refcount 1 from now on.
  Answer<HostClusters> allocate(std::uint64_t count_max);
  // The same for exactly `count` clusters.
  Answer<HostClusters> allocate_exactly(std::uint64_t count);
  // Takes `bytes` bytes, fewer than a cluster has, behind those that the last such call took, if they fit there or in
  // the next cluster too; else from the begin of another cluster. So one host cluster serves several calls, and counts
  // each of them once. The bytes had no user before.
  struct SharedBytes {
    std::uint64_t offset = 0;
    HostClusters made = {};  // the cluster that was free before the call; count 0: none
  };
  Answer<SharedBytes> allocate_bytes(std::uint64_t bytes);
  // Later calls of allocate_bytes() take nothing of these clusters.
  void close_shared(HostClusters clusters);
  Answer<std::uint64_t> refcount(std::uint64_t cluster);
  // Returns the new refcount. At 0 the cluster is free.
  Answer<std::uint64_t> decrease(std::uint64_t cluster);
  Answer<std::uint64_t> increase(std::uint64_t cluster);
  // The same for the first ones of `clusters`, at least one, which one block describes. Returns their number.
  enum class Step : std::uint8_t { kIncrease, kDecrease };
  Answer<std::size_t> count(std::span<const std::uint64_t> clusters, Step step);
  // Gives the block that describes `cluster` another place, so that the image has the old one until the table of the
  // header is another one; does nothing if the image refers to no place of it. Returns the cluster of the old place,
  // which is freed when the new one is in the image; count 0: none. Such changes need move_table() too.
  Answer<HostClusters> relocate_block_of(std::uint64_t cluster);
  // Gives the table another place, unless it has one that is not in the image yet. Returns as above.
  Answer<HostClusters> move_table();
  // Makes a larger table, with the blocks that describe it, behind all clusters that the old one describes. Returns the
  // clusters of the old table, which are freed when the new one is in the image.
  Answer<HostClusters> grow_table();

  // --- writing ---

  struct Write {
    std::uint64_t host_offset = 0;
    std::vector<std::byte> bytes;
  };
  struct Writes {
    std::vector<Write> new_blocks;     // no table in the image refers to them yet
    std::vector<Write> moved_table;    // the whole table at its new place
    bool table_moved = false;          // then the header has to name the new place
    std::vector<Write> table_entries;  // of the table at its old place
    std::vector<Write> blocks;         // changed parts of blocks that the table in the image refers to
  };
  // All changes, to be written in the order of the members of Writes; barriers belong behind moved_table and behind
  // blocks. The blocks stay dirty until end_write() says that they are in the image.
  Writes begin_write();
  void end_write();
  bool is_dirty() const { return dirty_blocks_ != 0 || !changed_entries_.empty() || table_moved_; }
  // True if the changes have to be written in more than one step.
  bool needs_barrier() const { return !changed_entries_.empty() || table_moved_; }
  std::size_t dirty_blocks() const { return dirty_blocks_; }

  std::uint64_t table_offset() const { return table_offset_; }
  std::uint64_t table_entries() const { return table_.size(); }

 private:
  struct Block {
    std::vector<std::byte> bytes;
    std::uint64_t dirty_begin = 0;  // of the bytes that differ from the image's
    std::uint64_t dirty_end = 0;
    bool changed = false;     // since begin_write()
    bool in_writing = false;  // begin_write() returned it
    bool is_new = false;      // the table in the image does not refer to it
    std::uint64_t used_at = 0;

    bool is_dirty() const { return dirty_end != 0; }
  };

  std::uint64_t block_of(std::uint64_t cluster) const { return cluster >> geometry_.refcount_block_bits(); }
  std::uint64_t index_in_block(std::uint64_t cluster) const {
    return cluster & (geometry_.refcount_block_entries() - 1);
  }
  // The block in memory; kBlockNotLoaded.
  Answer<Block*> loaded(std::uint64_t block);
  Block& make_block(std::uint64_t block, std::uint64_t own_cluster);
  void set(Block& block, std::uint64_t index, std::uint64_t value);
  // The run of free clusters at or behind `from` within one block; count 0: the rest of the block has none.
  HostClusters free_run(const Block& block, std::uint64_t from, std::uint64_t count_max) const;
  // The block of a cluster that is to be counted; kCorrupt if there is none.
  Answer<Block*> counting_block(std::uint64_t cluster);
  // The refcount of a cluster that `block` describes.
  Answer<std::uint64_t> change(Block& block, std::uint64_t cluster, Step step);
  // `cluster`, or the first cluster behind the full blocks that it is in.
  std::uint64_t past_full_blocks(std::uint64_t cluster) const;
  void note_full(std::uint64_t block);
  void note_free(std::uint64_t block);
  // Returns true if allocate_bytes() may go on where it ended.
  bool can_share();
  // Number of blocks from `first_block` on that describe the `count` clusters at their beginning and, behind these,
  // the blocks themselves.
  std::uint64_t blocks_behind(std::uint64_t first_block, std::uint64_t count) const;
  // Takes these clusters and makes these blocks, for which the table is large enough.
  void take_behind(std::uint64_t first_block, std::uint64_t count);
  Answer<HostClusters> allocate_behind(std::uint64_t count);
  bool is_reachable(std::uint64_t end_cluster) const {
    return end_cluster <= kHostOffsetLimit >> geometry_.cluster_bits;
  }
  std::unexpected<Blocked> table_full() const {
    return std::unexpected(Blocked{.obstacle = Obstacle::kTableFull, .table_entries = table_.size()});
  }
  // The block that describes `cluster`, made if it is missing.
  Answer<Block*> block_for(std::uint64_t cluster);
  void evict_clean(std::size_t clean_blocks_max);

  Geometry geometry_;
  MetadataClusters& metadata_;
  std::vector<std::uint64_t> table_;
  std::uint64_t table_offset_;
  bool table_moved_ = false;
  std::vector<std::uint64_t> changed_entries_;
  std::size_t entries_in_writing_ = 0;
  std::uint64_t table_in_writing_ = 0;  // offset of the moved table that begin_write() returned
  std::map<std::uint64_t, Block> blocks_;
  std::size_t dirty_blocks_ = 0;
  std::uint64_t uses_ = 0;
  std::uint64_t evictions_ = 0;
  std::uint64_t shared_end_ = 0;  // where allocate_bytes() goes on, within a cluster; 0: in a new one
  std::uint64_t cursor_ = 0;      // no cluster below it is free, as far as is known
  // One bit for each block: no cluster of it is free. A block whose bit is missing may be full too.
  std::vector<std::uint64_t> full_blocks_;
  HostClusters search_ = {};  // where allocate_exactly() goes on, and for how many clusters; count 0: at cursor_
};

}  // namespace blockexport::drivers::qcow2
