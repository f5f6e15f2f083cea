#include "drivers/qcow2/commit/allocator.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "aio/task/current.h"
#include "base/error.h"
#include "block/buffers.h"
#include "block/debug_events.h"
#include "drivers/qcow2/file/zero_padded_read.h"

namespace blockexport::drivers::qcow2 {

Allocator::Allocator(ImageTables& tables, ClusterPins& pins, Refcounts refcounts, MetadataClusters& metadata,
                     block::Edge& file, Options options)
    : tables_(tables),
      pins_(pins),
      metadata_(metadata),
      file_(file),
      options_(options),
      refcounts_(std::move(refcounts)) {}

aio::Task<std::expected<Allocated, Errno>> Allocator::allocate(std::uint64_t count_max) {
  block::debug_event(file_, block::DebugEvent::kClusterAlloc);
  while (true) {
    Refcounts::Blocked blocked{};
    {
      const std::lock_guard lock(tables_.mutex());
      const Refcounts::Answer<HostClusters> taken = refcounts_.allocate(count_max);
      if (taken) co_return note_allocated(*taken);
      blocked = taken.error();
    }
    CO_TRY(co_await overcome(blocked));
  }
}

aio::Task<std::expected<Allocated, Errno>> Allocator::allocate_exactly(std::uint64_t count) {
  block::debug_event(file_, block::DebugEvent::kClusterAlloc);
  while (true) {
    Refcounts::Blocked blocked{};
    {
      const std::lock_guard lock(tables_.mutex());
      const Refcounts::Answer<HostClusters> taken = refcounts_.allocate_exactly(count);
      if (taken) co_return note_allocated(*taken);
      blocked = taken.error();
    }
    CO_TRY(co_await overcome(blocked));
  }
}

aio::Task<std::expected<std::uint64_t, Errno>> Allocator::allocate_bytes(std::uint64_t bytes) {
  block::debug_event(file_, block::DebugEvent::kClusterAllocBytes);
  while (true) {
    Refcounts::Blocked blocked{};
    {
      const std::lock_guard lock(tables_.mutex());
      const Refcounts::Answer<Refcounts::SharedBytes> taken = refcounts_.allocate_bytes(bytes);
      if (taken && taken->made.count != 0) note_allocated(taken->made);
      if (taken) co_return taken->offset;
      blocked = taken.error();
    }
    CO_TRY(co_await overcome(blocked));
  }
}

Allocated Allocator::note_allocated(HostClusters clusters) {
  const unsigned bits = tables_.geometry().cluster_bits;
  const bool is_fresh = clusters.first << bits >= options_.fresh_from;
  const std::uint64_t end = (clusters.first + clusters.count) << bits;
  if (options_.fresh_from != UINT64_MAX) options_.fresh_from = std::max(options_.fresh_from, end);
  return {.clusters = clusters, .is_fresh = is_fresh};
}

aio::Task<std::expected<std::uint64_t, Errno>> Allocator::refcount(std::uint64_t cluster) {
  while (true) {
    Refcounts::Blocked blocked{};
    {
      const std::lock_guard lock(tables_.mutex());
      const Refcounts::Answer<std::uint64_t> found = refcounts_.refcount(cluster);
      if (found) co_return *found;
      blocked = found.error();
    }
    CO_TRY(co_await overcome(blocked));
  }
}

aio::Task<std::expected<std::vector<std::uint64_t>, Errno>> Allocator::refcounts_of(
    std::span<const std::uint64_t> clusters) {
  assert(clusters.size() <= kCountedAtOnceMax);
  std::vector<std::uint64_t> found;
  found.reserve(clusters.size());
  while (found.size() < clusters.size()) {
    Refcounts::Blocked blocked{};
    {
      const std::lock_guard lock(tables_.mutex());
      while (found.size() < clusters.size()) {
        const Refcounts::Answer<std::uint64_t> one = refcounts_.refcount(clusters[found.size()]);
        if (!one) {
          blocked = one.error();
          break;
        }
        found.push_back(*one);
      }
    }
    if (found.size() < clusters.size()) CO_TRY(co_await overcome(blocked));
  }
  co_return found;
}

aio::Task<IoResult> Allocator::overcome(Refcounts::Blocked blocked) {
  using Obstacle = Refcounts::Obstacle;
  switch (blocked.obstacle) {
    case Obstacle::kBlockNotLoaded:
      co_return co_await load_block(blocked.block);
    case Obstacle::kTableFull:
      co_return grow_table(blocked.table_entries);
    case Obstacle::kTableTooLarge:
      co_return fail(EFBIG);
    case Obstacle::kOverflow:
      co_return fail(EINVAL);
    case Obstacle::kCorrupt:
      break;
  }
  is_corrupt_.store(true, std::memory_order_relaxed);
  co_return fail(EIO);
}

IoResult Allocator::grow_table(std::uint64_t full_entries) {
  block::debug_event(file_, block::DebugEvent::kReftableGrow);
  const std::lock_guard lock(tables_.mutex());
  if (refcounts_.table_entries() != full_entries) return {};  // another task was here first
  const Refcounts::Answer<HostClusters> old_table = refcounts_.grow_table();
  if (!old_table) {
    if (old_table.error().obstacle == Refcounts::Obstacle::kTableTooLarge) return fail(EFBIG);
    is_corrupt_.store(true, std::memory_order_relaxed);
    return fail(EIO);
  }
  freed_.add({.clusters = *old_table});
  // The table may be freed again, and is no place that was never written.
  const Geometry& geometry = tables_.geometry();
  note_allocated({geometry.cluster_of(refcounts_.table_offset()),
                  geometry.cluster_of(refcounts_.table_entries() * sizeof(std::uint64_t))});
  return {};
}

aio::Task<IoResult> Allocator::load_block(std::uint64_t block) {
  const Geometry& geometry = tables_.geometry();
  std::uint64_t offset = 0;
  std::uint64_t evictions = 0;
  {
    const std::lock_guard lock(tables_.mutex());
    offset = refcounts_.block_offset(block);
    evictions = refcounts_.evictions();
  }
  if (offset == 0 || geometry.offset_in_cluster(offset) != 0 || offset >= kHostOffsetLimit) {
    is_corrupt_.store(true, std::memory_order_relaxed);
    co_return fail(EIO);
  }
  const block::AlignedMemory memory(geometry.cluster_bytes(), 4096);
  if (!memory) co_return fail(ENOMEM);
  const iovec vector{memory.bytes().data(), memory.bytes().size()};
  block::debug_event(file_, block::DebugEvent::kRefblockLoad);
  CO_TRY(co_await read_zero_padded(file_.node(), {offset, geometry.cluster_bytes()}, {&vector, 1}));
  const std::lock_guard lock(tables_.mutex());
  refcounts_.insert_block(block, memory.bytes(), options_.clean_blocks_max, evictions);
  co_return IoResult();
}

aio::Task<IoResult> Allocator::reclaim() {
  std::vector<FreedRun> unused;
  {
    const std::lock_guard lock(tables_.mutex());
    pins_.advance();
    unused = freed_.take_unused(pins_);
  }
  IoResult result;
  for (FreedRun& run : unused) {
    block::debug_event(file_, block::DebugEvent::kClusterFree);
    if (result) result = co_await decrease(run);
    if (result) continue;
    const std::lock_guard lock(tables_.mutex());
    freed_.put_back(run);
  }
  co_return result;
}

aio::Task<std::expected<std::uint64_t, Errno>> Allocator::sole_clusters(FreedRun run) {
  {
    // A discard must not meet a compressed cluster that is written next to the freed one meanwhile.
    const std::lock_guard lock(tables_.mutex());
    refcounts_.close_shared(run.clusters);
  }
  std::uint64_t count = 0;
  while (count < std::min(run.clusters.count, kReclaimedAtOnceMax)) {
    CO_TRY_ASSIGN(const std::uint64_t refcount, co_await this->refcount(run.clusters.first + count));
    if (refcount != 1) break;
    ++count;
  }
  co_return count;
}

// Removes from `run` the clusters that it has done.
aio::Task<IoResult> Allocator::decrease(FreedRun& run) {
  const Geometry& geometry = tables_.geometry();
  std::uint64_t to_discard = 0;
  while (run.clusters.count != 0) {
    const std::uint64_t before = run.clusters.count;
    if (run.discard && to_discard == 0) {
      // A discard after the decrease could meet data of the next user.
      CO_TRY_ASSIGN(to_discard, co_await sole_clusters(run));
      const block::Range range{run.clusters.first << geometry.cluster_bits, to_discard << geometry.cluster_bits};
      if (to_discard != 0 && range.fits(file_.node().size_bytes())) (void)co_await file_.node().discard(range);
    }
    const std::optional<Refcounts::Blocked> blocked = decrease_some(run, run.discard ? to_discard : UINT64_MAX);
    to_discard -= std::min(to_discard, before - run.clusters.count);
    if (blocked) CO_TRY(co_await overcome(*blocked));
    // A run may be millions of clusters long.
    if (!blocked && run.clusters.count != 0) co_await aio::next_turn();
  }
  co_return IoResult();
}

// A cluster that others use too is decreased alone, because nothing of it is to be discarded.
std::optional<Refcounts::Blocked> Allocator::decrease_some(FreedRun& run, std::uint64_t count_max) {
  const std::lock_guard lock(tables_.mutex());
  const std::uint64_t count =
      std::min({run.clusters.count, std::max<std::uint64_t>(1, count_max), kReclaimedAtOnceMax});
  for (std::uint64_t done = 0; done < count; ++done) {
    const Refcounts::Answer<std::uint64_t> decreased = refcounts_.decrease(run.clusters.first);
    if (!decreased) return decreased.error();
    ++run.clusters.first;
    --run.clusters.count;
  }
  return std::nullopt;
}

Refcounts::Answer<HostClusters> Allocator::relocate_block_of(std::uint64_t cluster) {
  const Refcounts::Answer<HostClusters> old = refcounts_.relocate_block_of(cluster);
  if (!old || old->count == 0) return old;
  freed_.add({.clusters = *old});
  const Geometry& geometry = tables_.geometry();
  note_allocated({geometry.cluster_of(refcounts_.block_offset(cluster >> geometry.refcount_block_bits())), 1});
  return old;
}

Refcounts::Answer<HostClusters> Allocator::move_table() {
  const Refcounts::Answer<HostClusters> old = refcounts_.move_table();
  if (!old || old->count == 0) return old;
  freed_.add({.clusters = *old});
  note_allocated({tables_.geometry().cluster_of(refcounts_.table_offset()), old->count});
  return old;
}

aio::Task<IoResult> Allocator::move_refcount_table() {
  while (true) {
    Refcounts::Blocked blocked{};
    {
      const std::lock_guard lock(tables_.mutex());
      const Refcounts::Answer<HostClusters> done = move_table();
      if (done) co_return IoResult();
      blocked = done.error();
    }
    CO_TRY(co_await overcome(blocked));
  }
}

aio::Task<IoResult> Allocator::relocate_blocks(std::span<const std::uint64_t> clusters) {
  const unsigned block_bits = tables_.geometry().refcount_block_bits();
  std::uint64_t last_block = UINT64_MAX;
  for (std::size_t i = 0; i < clusters.size(); ++i) {
    if (i % kCountedAtOnceMax == kCountedAtOnceMax - 1) co_await aio::next_turn();
    const std::uint64_t cluster = clusters[i];
    if (cluster >> block_bits == last_block) continue;
    while (true) {
      Refcounts::Blocked blocked{};
      {
        const std::lock_guard lock(tables_.mutex());
        const Refcounts::Answer<HostClusters> done = relocate_block_of(cluster);
        if (done) break;
        blocked = done.error();
      }
      CO_TRY(co_await overcome(blocked));
    }
    last_block = cluster >> block_bits;
  }
  co_return IoResult();
}

aio::Task<std::size_t> Allocator::count(std::span<const std::uint64_t> clusters, Refcounts::Step step,
                                        IoResult& result) {
  std::size_t done = 0;
  while (done < clusters.size()) {
    std::optional<Refcounts::Blocked> blocked;
    {
      const std::lock_guard lock(tables_.mutex());
      const std::size_t end = std::min<std::size_t>(clusters.size(), done + kCountedAtOnceMax);
      while (done < end && !blocked) {
        const Refcounts::Answer<std::size_t> counted = refcounts_.count(clusters.subspan(done, end - done), step);
        if (counted) done += *counted;
        if (!counted) blocked = counted.error();
      }
    }
    if (blocked) result = co_await overcome(*blocked);
    if (!result) co_return done;
    co_await aio::next_turn();
  }
  co_return done;
}

aio::Task<IoResult> Allocator::increase(std::span<const std::uint64_t> clusters) {
  IoResult result;
  const std::size_t done = co_await count(clusters, Refcounts::Step::kIncrease, result);
  if (result) co_return result;
  IoResult undone;
  co_await count(clusters.first(done), Refcounts::Step::kDecrease, undone);
  co_return result;
}

aio::Task<IoResult> Allocator::decrease(std::span<const std::uint64_t> clusters) {
  IoResult result;
  co_await count(clusters, Refcounts::Step::kDecrease, result);
  co_return result;
}

}  // namespace blockexport::drivers::qcow2
