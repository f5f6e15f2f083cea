#include "drivers/qcow2/write/table_changes.h"

#include "aio/task/current.h"
#include "base/error.h"
#include "block/buffers.h"
#include "block/debug_events.h"
#include "drivers/qcow2/file/zero_padded_read.h"

namespace blockexport::drivers::qcow2 {
namespace {

// Copies the table at `from`, or makes one of zeros when it is 0.
aio::Task<IoResult> fill_table(ImageParts& parts, std::uint64_t from, Allocated to) {
  const Geometry& geometry = parts.geometry();
  const block::Range range{to.clusters.first << geometry.cluster_bits, geometry.cluster_bytes()};
  if (from == 0) {
    // The table reads as zeros, but it must not lie behind the end of a file that then cannot grow.
    if (to.is_fresh) co_return co_await parts.file.node().grow(range.end());
    block::debug_event(parts.file, block::DebugEvent::kL2AllocWrite);
    co_return co_await parts.file.node().write_zeroes(range, {.may_grow = true});
  }
  const block::AlignedMemory memory(geometry.cluster_bytes(), 4096);
  if (!memory) co_return fail(ENOMEM);
  const iovec vector{memory.bytes().data(), memory.bytes().size()};
  block::debug_event(parts.file, block::DebugEvent::kL2AllocCowRead);
  CO_TRY(co_await read_zero_padded(parts.file.node(), {from, geometry.cluster_bytes()}, {&vector, 1}));
  block::debug_event(parts.file, block::DebugEvent::kL2AllocWrite);
  co_return co_await parts.file.node().write(range, {&vector, 1}, {.may_grow = true});
}

}  // namespace

aio::Task<void> thaw_table(ImageParts& parts, std::uint64_t guest_cluster) {
  const std::uint64_t index = parts.geometry().l1_index(guest_cluster);
  {
    const std::lock_guard lock(parts.tables.mutex());
    if (!parts.tables.is_frozen(index)) co_return;
  }
  co_await parts.thawing->thaw(index);
}

aio::Task<IoResult> make_table_writable(ImageParts& parts, std::uint64_t guest_cluster) {
  const Geometry& geometry = parts.geometry();
  const std::uint64_t index = geometry.l1_index(guest_cluster);
  const auto is_writable = [&] {
    const std::uint64_t entry = parts.tables.l1_entry(index);
    return (entry & kEntryCopied) != 0 && (entry & kEntryOffsetMask) != 0;
  };
  if (is_writable()) co_return IoResult();
  co_await thaw_table(parts, guest_cluster);
  if (is_writable()) co_return IoResult();
  block::RangeLock::Hold hold(parts.l1_changes, co_await aio::current_reactor(), {index, 1},
                              block::RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  if (is_writable()) co_return IoResult();
  const std::uint64_t old_offset = parts.tables.l1_entry(index) & kEntryOffsetMask;
  if (geometry.offset_in_cluster(old_offset) != 0) co_return fail(EIO);
  CO_TRY_ASSIGN(const Allocated made, co_await parts.allocator.allocate(1));
  const IoResult filled = co_await fill_table(parts, old_offset, made);
  const std::lock_guard lock(parts.tables.mutex());
  if (!filled) {
    parts.allocator.free({.clusters = made.clusters});
    co_return filled;
  }
  parts.allocator.metadata().add(made.clusters.first);
  parts.tables.set_l1_entry(index, made.clusters.first << geometry.cluster_bits | kEntryCopied);
  // A snapshot has the old table too.
  if (old_offset != 0) parts.allocator.free({.clusters = {geometry.cluster_of(old_offset), 1}});
  co_return IoResult();
}

aio::Task<IoResult> set_entries(ImageParts& parts, std::uint64_t first_cluster, std::span<const L2Entry> entries,
                                std::span<const FreedRun> freed) {
  L2Cache& cache = parts.tables.cache();
  const std::uint64_t slice = cache.slice_of(first_cluster);
  while (true) {
    CO_TRY(co_await parts.tables.load(first_cluster));
    {
      const std::lock_guard lock(parts.tables.mutex());
      if (cache.may_change(slice)) {
        for (std::size_t i = 0; i < entries.size(); ++i) cache.set(first_cluster + i, entries[i]);
        for (const FreedRun& run : freed) parts.allocator.free(run);
        co_return IoResult();
      }
      if (!cache.holds(slice)) continue;  // it was evicted since
    }
    // Too many slices of its set have changed.
    CO_TRY(co_await parts.metadata.commit());
  }
}

HostClusters clusters_of(const Geometry& geometry, const L2Entry& entry) {
  const ClusterPlace place = place_of(geometry, entry);
  if (place.kind == ClusterKind::kCompressed) {
    const std::uint64_t first = geometry.cluster_of(place.host_offset);
    const std::uint64_t last = geometry.cluster_of(place.host_offset + place.compressed_bytes - 1);
    return {first, last - first + 1};
  }
  if (!place.has_host_cluster) return {};
  return {geometry.cluster_of(place.host_offset), 1};
}

}  // namespace blockexport::drivers::qcow2
