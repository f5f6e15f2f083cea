#include "drivers/qcow2/commit/metadata_writer.h"

#include <cassert>
#include <utility>

#include "aio/task/current.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "block/debug_events.h"
#include "block/node.h"
#include "drivers/qcow2/commit/header_fields.h"

namespace blockexport::drivers::qcow2 {

using block::DebugEvent;

aio::Task<IoResult> MetadataWriter::commit() {
  aio::Reactor& reactor = co_await aio::current_reactor();
  co_return co_await commits_.share(reactor, run_commit());
}

aio::Task<IoResult> MetadataWriter::commit_with(CommitWork& work) {
  PendingWork pending{.work = &work};
  {
    const std::lock_guard lock(tables_.mutex());
    works_.push_back(&pending);
  }
  // Whoever runs the next commit runs the work before it.
  const IoResult committed = co_await commit();
  if (!pending.result) co_return pending.result;
  co_return committed;
}

aio::Task<void> MetadataWriter::run_works() {
  std::vector<PendingWork*> works;
  {
    const std::lock_guard lock(tables_.mutex());
    works.swap(works_);
  }
  for (PendingWork* pending : works) pending->result = co_await pending->work->prepare();
}

std::uint64_t MetadataWriter::l1_clusters() const {
  const Geometry& geometry = tables_.geometry();
  return geometry.cluster_of(geometry.round_up(tables_.l1_size() * sizeof(std::uint64_t)));
}

void MetadataWriter::move_l1(HostClusters place) {
  allocator_.free({.clusters = {tables_.geometry().cluster_of(l1_offset_), l1_clusters()}});
  for (std::uint64_t i = 0; i < place.count; ++i) allocator_.metadata().add(place.first + i);
  moved_l1_offset_ = place.first << tables_.geometry().cluster_bits;
}

bool MetadataWriter::is_dirty() {
  const std::lock_guard lock(tables_.mutex());
  return tables_.is_dirty() || allocator_.refcounts().is_dirty() || !allocator_.freed().empty();
}

bool MetadataWriter::should_commit() {
  const std::lock_guard lock(tables_.mutex());
  return tables_.cache().dirty_count() >= kDirtySlicesMax || allocator_.refcounts().dirty_blocks() >= kDirtyBlocksMax ||
         allocator_.freed().runs() >= kFreedRunsMax;
}

aio::Task<IoResult> MetadataWriter::run_commit() {
  co_await run_works();
  CO_TRY(co_await write_plan(begin()));
  end();
  // Clusters that stay freed because their refcounts cannot be read are tried again by the next commit.
  if (IoResult reclaimed = co_await allocator_.reclaim(); !reclaimed) co_return IoResult();
  co_return co_await write_decreased();
}

MetadataWriter::Plan MetadataWriter::begin() {
  const std::lock_guard lock(tables_.mutex());
  Refcounts& refcounts = allocator_.refcounts();
  Plan plan{.refcounts = refcounts.begin_write(),
            .table_offset = refcounts.table_offset(),
            .table_clusters = refcounts.table_entries() * sizeof(std::uint64_t) >> tables_.geometry().cluster_bits,
            .entries = {},
            .moved_l1 = {}};
  if (has_moved_l1()) {
    // It has all changed entries.
    (void)tables_.begin_l1_write();
    std::vector<std::byte> bytes(l1_clusters() << tables_.geometry().cluster_bits);
    ByteWriter writer(bytes);
    for (std::uint64_t i = 0; i < tables_.l1_size(); ++i) writer.u64(tables_.l1_entry_for_image(i));
    plan.moved_l1 = {.host_offset = moved_l1_offset_, .bytes = std::move(bytes)};
  }
  plan.entries = changed_entries();
  allocator_.freed().begin_commit();
  return plan;
}

void MetadataWriter::end() {
  const std::lock_guard lock(tables_.mutex());
  allocator_.refcounts().end_write();
  tables_.cache().end_write();
  tables_.end_l1_write();
  if (has_moved_l1()) l1_offset_ = std::exchange(moved_l1_offset_, 0);
  allocator_.freed().end_commit(pins_.epoch());
}

// Slices that follow each other in the file are one write.
MetadataWriter::Writes MetadataWriter::changed_entries() {
  Writes writes;
  L2Cache& cache = tables_.cache();
  for (const std::uint64_t slice : cache.begin_write()) {
    const std::uint64_t table = tables_.l1_entry(slice / cache.slices_per_table()) & kEntryOffsetMask;
    const std::uint64_t offset = table + cache.offset_in_table(slice);
    if (writes.empty() || writes.back().host_offset + writes.back().bytes.size() != offset) {
      writes.push_back({.host_offset = offset, .bytes = {}});
    }
    std::vector<std::byte>& bytes = writes.back().bytes;
    bytes.resize(bytes.size() + cache.slice_bytes());
    cache.encode(slice, std::span(bytes).last(cache.slice_bytes()));
  }
  if (has_moved_l1()) return writes;
  for (const std::uint64_t index : tables_.begin_l1_write()) {
    Refcounts::Write& write = writes.emplace_back();
    write.host_offset = l1_offset_ + index * sizeof(std::uint64_t);
    write.bytes.resize(sizeof(std::uint64_t));
    ByteWriter(write.bytes).u64(tables_.l1_entry_for_image(index));
  }
  return writes;
}

aio::Task<IoResult> MetadataWriter::write_plan(Plan plan) {
  const Refcounts::Writes& refcounts = plan.refcounts;
  if (plan.moved_l1) {
    CO_TRY(co_await exchange_roots(plan));
    if (plan.entries.empty()) co_return IoResult();
    CO_TRY(co_await write_all(plan.entries, DebugEvent::kL2Update));
    co_return co_await barrier();
  }
  CO_TRY(co_await write_all(refcounts.new_blocks, DebugEvent::kRefblockAllocWrite));
  CO_TRY(co_await write_all(refcounts.moved_table, DebugEvent::kRefblockAllocWriteTable));
  if (!refcounts.new_blocks.empty() || refcounts.table_moved) CO_TRY(co_await barrier());
  if (refcounts.table_moved) {
    const auto clusters = static_cast<std::uint32_t>(plan.table_clusters);
    block::debug_event(file_, DebugEvent::kRefblockAllocSwitchTable);
    CO_TRY(co_await write_refcount_table_fields(file_.node(), {.offset = plan.table_offset, .clusters = clusters}));
  }
  CO_TRY(co_await write_all(refcounts.table_entries, DebugEvent::kRefblockAllocHookup));
  CO_TRY(co_await write_all(refcounts.blocks, DebugEvent::kRefblockUpdatePart));
  if (data_file_ != nullptr) CO_TRY(co_await data_file_->node().flush());
  CO_TRY(co_await barrier());
  if (plan.entries.empty()) co_return IoResult();
  CO_TRY(co_await write_all(plan.entries, DebugEvent::kL2Update));
  co_return co_await barrier();
}

// The blocks that stay where they are have allocations and ends of references only, which may be there before the
// exchange. What the exchange is for is in the blocks at new places.
aio::Task<IoResult> MetadataWriter::exchange_roots(const Plan& plan) {
  const Refcounts::Writes& refcounts = plan.refcounts;
  assert(refcounts.table_moved);
  CO_TRY(co_await write_all(refcounts.new_blocks, DebugEvent::kRefblockAllocWrite));
  CO_TRY(co_await write_all(refcounts.moved_table, DebugEvent::kRefblockAllocWriteTable));
  CO_TRY(co_await write_all(refcounts.blocks, DebugEvent::kRefblockUpdatePart));
  CO_TRY(co_await write_all({&*plan.moved_l1, 1}, DebugEvent::kL1Update));
  if (data_file_ != nullptr) CO_TRY(co_await data_file_->node().flush());
  CO_TRY(co_await barrier());
  const RootFields fields{
      .l1_entries = static_cast<std::uint32_t>(tables_.l1_size()),
      .l1_offset = plan.moved_l1->host_offset,
      .refcount_table = {.offset = plan.table_offset, .clusters = static_cast<std::uint32_t>(plan.table_clusters)}};
  block::debug_event(file_, DebugEvent::kRefblockAllocSwitchTable);
  CO_TRY(co_await write_root_fields(file_.node(), fields));
  co_return co_await barrier();
}

aio::Task<IoResult> MetadataWriter::write_decreased() {
  Refcounts::Writes writes;
  {
    const std::lock_guard lock(tables_.mutex());
    // An allocation meanwhile may need barriers, for which the next commit is there.
    if (!allocator_.refcounts().is_dirty() || allocator_.refcounts().needs_barrier()) co_return IoResult();
    writes = allocator_.refcounts().begin_write();
  }
  CO_TRY(co_await write_all(writes.blocks, DebugEvent::kRefblockUpdatePart));
  const std::lock_guard lock(tables_.mutex());
  allocator_.refcounts().end_write();
  co_return IoResult();
}

aio::Task<IoResult> MetadataWriter::write_all(std::span<const Refcounts::Write> writes, DebugEvent event) {
  for (const Refcounts::Write& write : writes) {
    // A single entry is one of the L1 table: slices of L2 tables are larger.
    const bool is_l1 = event == DebugEvent::kL2Update && write.bytes.size() == sizeof(std::uint64_t);
    block::debug_event(file_, is_l1 ? DebugEvent::kL1Update : event);
    const iovec vector{const_cast<std::byte*>(write.bytes.data()), write.bytes.size()};
    CO_TRY(co_await file_.node().write({write.host_offset, write.bytes.size()}, {&vector, 1}, {.may_grow = true}));
  }
  co_return IoResult();
}

aio::Task<IoResult> MetadataWriter::barrier() {
  block::debug_event(file_, DebugEvent::kFlushToDisk);
  return file_.node().flush();
}

}  // namespace blockexport::drivers::qcow2
