#include "drivers/qcow2/write/image_resize.h"

#include <algorithm>
#include <vector>

#include "aio/task/current.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "block/debug_events.h"
#include "drivers/qcow2/file/table_turns.h"
#include "drivers/qcow2/map/guest_run.h"
#include "drivers/qcow2/write/cluster_writer.h"
#include "drivers/qcow2/write/cluster_zeroes.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::Range;

// The part of an L1 table that one turn of the event loop writes.
constexpr std::uint64_t kL1PieceBytes = 1u << 20;

std::uint64_t clusters_for(const Geometry& geometry, std::uint64_t l1_entries) {
  return geometry.cluster_of(l1_entries * sizeof(std::uint64_t) + geometry.cluster_bytes() - 1);
}

// Writes whole clusters, in pieces, because a table may be tens of megabytes long.
aio::Task<IoResult> write_l1(ImageParts& parts, std::uint64_t offset, std::span<const std::uint64_t> entries) {
  const std::uint64_t end = clusters_for(parts.geometry(), entries.size()) << parts.geometry().cluster_bits;
  for (std::uint64_t done = 0; done < end; done += kL1PieceBytes) {
    std::vector<std::byte> bytes(std::min(kL1PieceBytes, end - done));
    ByteWriter writer(bytes);
    const std::span<const std::uint64_t> rest = entries.subspan(std::min(entries.size(), done / sizeof(std::uint64_t)));
    for (const std::uint64_t entry : rest.first(std::min(rest.size(), bytes.size() / sizeof(std::uint64_t)))) {
      writer.u64(entry);
    }
    const iovec vector{bytes.data(), bytes.size()};
    block::debug_event(parts.file, block::DebugEvent::kL1GrowWriteTable);
    CO_TRY(co_await parts.file.node().write({offset + done, bytes.size()}, {&vector, 1}, {.may_grow = true}));
    co_await aio::next_turn();
  }
  co_return IoResult();
}

// For a part of one cluster.
aio::Task<IoResult> write_zeros_as_data(ImageParts& parts, const WritePolicy& policy, Range range) {
  std::vector<std::byte> zeros(range.length);
  for (std::uint64_t done = 0; done < range.length;) {
    const iovec vector{zeros.data(), range.length - done};
    CO_TRY_ASSIGN(const std::uint64_t written,
                  co_await write_to_new_place(parts, policy, {range.offset + done, range.length - done}, {&vector, 1}));
    // Nothing else changes the image, so that no cluster can be overwritten in place all at once.
    if (written == 0) co_return fail(EIO);
    done += written;
  }
  co_return IoResult();
}

}  // namespace

aio::Task<IoResult> grow_l1_table(ImageParts& parts, std::uint64_t disk_bytes, DiskFields& fields) {
  const Geometry& geometry = parts.geometry();
  const std::uint64_t needed = geometry.l1_entries_for(disk_bytes);
  if (needed > kL1BytesMax / sizeof(std::uint64_t)) co_return fail(EFBIG);
  if (needed <= parts.tables.l1_size()) co_return IoResult();
  block::debug_event(parts.file, block::DebugEvent::kL1GrowAllocTable);
  CO_TRY_ASSIGN(const Allocated made, co_await parts.allocator.allocate_exactly(clusters_for(geometry, needed)));
  const std::uint64_t offset = made.clusters.first << geometry.cluster_bits;
  std::vector<std::uint64_t> entries(needed);
  for (std::uint64_t i = 0; i < parts.tables.l1_size(); ++i) {
    if (i % kTableEntriesPerTurn == 0) co_await aio::next_turn();
    entries[i] = parts.tables.l1_entry(i);
  }
  IoResult result = co_await write_l1(parts, offset, entries);
  // The refcounts are durable before the header refers to the table, and so is the table.
  if (result) result = co_await parts.metadata.commit();
  DiskFields moved = fields;
  moved.l1_entries = static_cast<std::uint32_t>(needed);
  moved.l1_offset = offset;
  block::debug_event(parts.file, block::DebugEvent::kL1GrowActivateTable);
  bool is_certain = true;
  if (result) {
    result = co_await write_disk_fields(parts.file.node(), moved);
    // The header may have the new fields all the same, until it is known to have the former ones.
    if (!result) is_certain = (co_await write_disk_fields(parts.file.node(), fields)).has_value();
  }
  {
    const std::lock_guard lock(parts.tables.mutex());
    if (!result) {
      if (is_certain) parts.allocator.free({.clusters = made.clusters});
      co_return result;
    }
    parts.allocator.free(
        {.clusters = {geometry.cluster_of(fields.l1_offset), clusters_for(geometry, parts.tables.l1_size())}});
    for (std::uint64_t i = 0; i < made.clusters.count; ++i) parts.allocator.metadata().add(made.clusters.first + i);
  }
  // No request is under way, so that nobody sees the time in between.
  co_await aio::next_turn();
  const std::lock_guard lock(parts.tables.mutex());
  parts.tables.set_l1(entries);
  parts.metadata.set_l1_offset(offset);
  fields = moved;
  co_return result;
}

aio::Task<IoResult> zero_new_bytes(ImageParts& parts, const WritePolicy& policy, Range range,
                                   std::uint64_t backing_bytes) {
  const Geometry& geometry = parts.geometry();
  // The rest of the last cluster that the disk had.
  const std::uint64_t tail_end = std::min(range.end(), geometry.round_up(range.offset));
  Range tail{range.offset, tail_end - range.offset};
  while (!tail.empty()) {
    CO_TRY_ASSIGN(const GuestRun run, co_await find_run(parts.tables, tail, RunPurpose::kWrite));
    if (run.kind == ClusterKind::kData && run.overwritable) {
      CO_TRY(co_await parts.data.write_zeroes({run.host_offset, run.length}, tail.offset));
    } else if (run.kind != ClusterKind::kZero &&
               (run.kind != ClusterKind::kUnallocated || backing_bytes > tail.offset)) {
      CO_TRY(co_await write_zeros_as_data(parts, policy, {tail.offset, run.length}));
    }
    tail = {tail.offset + run.length, tail.length - run.length};
  }
  // New clusters through which the backing file would show.
  const std::uint64_t end = std::min(range.end(), backing_bytes);
  if (end <= tail_end) co_return IoResult();
  co_return co_await zero_range(parts, policy, {tail_end, end - tail_end}, {.may_unmap = true});
}

aio::Task<IoResult> forget_behind(ImageParts& parts, const WritePolicy& policy, std::uint64_t disk_bytes) {
  const std::uint64_t begin = parts.geometry().round_up(disk_bytes);
  const std::uint64_t end = parts.geometry().round_up(parts.guest.disk_bytes());
  if (begin < end) CO_TRY(co_await forget_range(parts, policy, {begin, end - begin}));
  co_return co_await parts.metadata.commit();
}

}  // namespace blockexport::drivers::qcow2
