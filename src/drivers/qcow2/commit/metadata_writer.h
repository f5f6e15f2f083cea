// MetadataWriter: makes the changes of an image's metadata durable, in an order that keeps the image consistent.
//
// Changes stand in memory until a commit. A commit writes, with a barrier (a flush of the file) after each step:
// 1. new refcount blocks, and a refcount table at a new place, to which nothing in the image refers yet;
// 2. refcounts, and the entries of the refcount table; the barrier also makes all data durable that was written;
// 3. L2 and L1 entries, which refer to data and refcounts that are durable now.
// Only then the refcounts of clusters that lost their last reference decrease (commit/freed_clusters.h). A power cut at
// any moment leaves every entry with a refcount and with its data; at worst clusters are counted that nothing uses.
// Step 1 is left out as a rule, and a commit without changes of L2 and L1 entries ends after step 2.
//
// Owned by the image's writer. Thread: any; commits are shared by all tasks that ask for one (aio/sync/sync_group.h).
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "aio/sync/sync_group.h"
#include "block/debug_events.h"
#include "drivers/qcow2/commit/allocator.h"

namespace blockexport::drivers::qcow2 {

// Work on the metadata in memory that is to be in one commit as a whole. Owned by the task that waits for the commit.
class CommitWork {
 public:
  // Runs before a commit looks at what has changed, on the reactor of the task that began the commit; no commit is
  // under way. An error: it has changed nothing.
  virtual aio::Task<IoResult> prepare() = 0;

 protected:
  ~CommitWork() = default;
};

class MetadataWriter {
 public:
  // `data_file`: the external data file, or null. `l1_offset`: of the L1 table in the image.
  MetadataWriter(ImageTables& tables, ClusterPins& pins, Allocator& allocator, block::Edge& file,
                 block::Edge* data_file, std::uint64_t l1_offset)
      : tables_(tables),
        pins_(pins),
        allocator_(allocator),
        file_(file),
        data_file_(data_file),
        l1_offset_(l1_offset) {}

  // Makes everything durable that was changed before the call, data and metadata. The first error: everything that is
  // not in the image is kept for the next call.
  aio::Task<IoResult> commit();

  // The same after `work`. An error of the work, or of the commit, which then is kept for the next call too.
  aio::Task<IoResult> commit_with(CommitWork& work);

  // For a CommitWork: the commit writes the whole L1 table to these clusters, and exchanges it, the refcount table and
  // all blocks that have another place with one write of the header. Frees the clusters of the old table. Under the
  // lock of the tables; not while has_moved_l1(). The refcount table has to move too.
  void move_l1(HostClusters place);
  bool has_moved_l1() const { return moved_l1_offset_ != 0; }
  // Number of clusters of the L1 table.
  std::uint64_t l1_clusters() const;
  // The place of the L1 table in the image, or is to be after the next commit.
  std::uint64_t l1_offset() const { return has_moved_l1() ? moved_l1_offset_ : l1_offset_; }

  // True if a commit has something to write, or freed clusters to make available.
  bool is_dirty();
  // True if so much has changed that a writer should commit before it goes on.
  bool should_commit();

  // After a resize moved the L1 table.
  void set_l1_offset(std::uint64_t offset) { l1_offset_ = offset; }

  // Changed slices and refcount blocks, and freed runs, after which a commit is due.
  static constexpr std::uint64_t kDirtySlicesMax = 1024;
  static constexpr std::size_t kDirtyBlocksMax = 64;
  static constexpr std::size_t kFreedRunsMax = 65536;

 private:
  using Writes = std::vector<Refcounts::Write>;

  // Everything that one commit writes.
  struct Plan {
    Refcounts::Writes refcounts;
    std::uint64_t table_offset = 0;
    std::uint64_t table_clusters = 0;
    Writes entries;  // of L2 and L1 tables
    std::optional<Refcounts::Write> moved_l1;
  };
  struct PendingWork {
    CommitWork* work;
    IoResult result = {};
  };

  aio::Task<IoResult> run_commit();
  Plan begin();
  void end();
  Writes changed_entries();
  aio::Task<IoResult> write_plan(Plan plan);
  // In place of the first steps of write_plan().
  aio::Task<IoResult> exchange_roots(const Plan& plan);
  aio::Task<void> run_works();
  // After clusters became available, without a barrier: a refcount that is too high is only a leak.
  aio::Task<IoResult> write_decreased();
  aio::Task<IoResult> write_all(std::span<const Refcounts::Write> writes, block::DebugEvent event);
  aio::Task<IoResult> barrier();

  ImageTables& tables_;
  ClusterPins& pins_;
  Allocator& allocator_;
  block::Edge& file_;
  block::Edge* data_file_;
  std::uint64_t l1_offset_;
  std::uint64_t moved_l1_offset_ = 0;  // 0: the L1 table stays where it is
  std::vector<PendingWork*> works_;    // under the lock of the tables
  aio::SyncGroup commits_;
};

}  // namespace blockexport::drivers::qcow2
