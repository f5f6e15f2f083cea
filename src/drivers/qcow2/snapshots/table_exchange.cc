#include "drivers/qcow2/snapshots/table_exchange.h"

#include <algorithm>

#include "aio/task/current.h"
#include "base/error.h"

namespace blockexport::drivers::qcow2 {

aio::Task<IoResult> TableExchange::move_roots() {
  CO_TRY(co_await parts_.allocator.move_refcount_table());
  if (parts_.metadata.has_moved_l1()) co_return IoResult();
  CO_TRY_ASSIGN(const Allocated made, co_await parts_.allocator.allocate_exactly(parts_.metadata.l1_clusters()));
  const std::lock_guard lock(parts_.tables.mutex());
  parts_.metadata.move_l1(made.clusters);
  co_return IoResult();
}

aio::Task<std::expected<std::uint64_t, Errno>> TableExchange::write_new_table(const TableContent& table) {
  const Geometry& geometry = parts_.geometry();
  CO_TRY_ASSIGN(const Allocated made, co_await parts_.allocator.allocate(1));
  const iovec vector{const_cast<std::byte*>(table.bytes().data()), table.bytes().size()};
  block::debug_event(parts_.file, block::DebugEvent::kL2AllocWrite);
  const IoResult written = co_await parts_.file.node().write(
      {made.clusters.first << geometry.cluster_bits, geometry.cluster_bytes()}, {&vector, 1}, {.may_grow = true});
  if (!written) give_back(made.clusters.first);
  if (!written) co_return fail(written.error().value());
  co_return made.clusters.first;
}

bool TableExchange::is_full() {
  const std::lock_guard lock(parts_.tables.mutex());
  return parts_.allocator.refcounts().dirty_blocks() << parts_.geometry().cluster_bits >= kSnapshotBlockBytesMax;
}

void TableExchange::give_back(std::uint64_t cluster) {
  const std::lock_guard lock(parts_.tables.mutex());
  parts_.allocator.free({.clusters = {cluster, 1}});
}

aio::Task<IoResult> TableSharing::prepare() {
  CO_TRY(co_await move_roots());
  for (const std::uint64_t index : indices_) {
    CO_TRY(co_await share(index));
    co_await aio::next_turn();
    if (is_full()) break;
  }
  co_return IoResult();
}

aio::Task<IoResult> TableSharing::share(std::uint64_t index) {
  const Geometry& geometry = parts_.geometry();
  const std::uint64_t offset = parts_.tables.l1_entry(index) & kEntryOffsetMask;
  CO_TRY_ASSIGN(TableContent table, co_await read_table(parts_.file.node(), geometry, offset));
  TableReferences found = co_await find_references(table);
  if (!found.is_valid) co_return fail(EIO);
  std::vector<std::uint64_t>& references = found.clusters;
  const bool needs_copy = found.has_copied_flags;
  if (!needs_copy) references.push_back(geometry.cluster_of(offset));
  CO_TRY(co_await parts_.allocator.relocate_blocks(references));
  std::uint64_t copy = 0;
  if (needs_copy) {
    co_await clear_copied_flags(table);
    CO_TRY_ASSIGN(copy, co_await write_new_table(table));
  }
  if (const IoResult counted = co_await parts_.allocator.increase(references); !counted) {
    if (needs_copy) give_back(copy);
    co_return counted;
  }
  const std::lock_guard lock(parts_.tables.mutex());
  if (needs_copy) {
    parts_.allocator.metadata().add(copy);
    parts_.tables.cache().replace_table(index, table.bytes());
  }
  parts_.tables.thaw(index, needs_copy ? copy << geometry.cluster_bits | kEntryCopied : offset);
  co_return IoResult();
}

aio::Task<IoResult> TableRelease::prepare() {
  CO_TRY(co_await move_roots());
  for (const Table& table : tables_) {
    CO_TRY(co_await release(table));
    ++done_;
    co_await aio::next_turn();
    if (is_full()) break;
  }
  co_return IoResult();
}

aio::Task<std::expected<std::optional<TableContent>, Errno>> TableRelease::with_new_flags(
    std::uint64_t index, const TableContent& released) {
  const Geometry& geometry = parts_.geometry();
  const std::uint64_t offset = parts_.tables.l1_entry(index) & kEntryOffsetMask;
  if (offset == 0) co_return std::nullopt;
  CO_TRY_ASSIGN(TableContent table, co_await read_table(parts_.file.node(), geometry, offset));
  bool has_changed = false;
  for (std::uint64_t begin = 0; begin < table.entries(); begin += Allocator::kCountedAtOnceMax) {
    const std::uint64_t end = std::min<std::uint64_t>(table.entries(), begin + Allocator::kCountedAtOnceMax);
    CO_TRY_ASSIGN(const bool some_changed, co_await set_new_flags(table, released, begin, end));
    has_changed = has_changed || some_changed;
    co_await aio::next_turn();
  }
  if (!has_changed) co_return std::nullopt;
  co_return table;
}

aio::Task<std::expected<bool, Errno>> TableRelease::set_new_flags(TableContent& table, const TableContent& released,
                                                                  std::uint64_t begin, std::uint64_t end) {
  const Geometry& geometry = parts_.geometry();
  std::vector<std::uint64_t> entries;
  std::vector<std::uint64_t> clusters;
  for (std::uint64_t i = begin; i < end; ++i) {
    const L2Entry entry = table.entry(i);
    const std::uint64_t cluster = plain_cluster_of(geometry, entry);
    if (cluster == UINT64_MAX || cluster != plain_cluster_of(geometry, released.entry(i))) continue;
    if ((entry.descriptor & kEntryCopied) != 0) continue;
    entries.push_back(i);
    clusters.push_back(cluster);
  }
  CO_TRY_ASSIGN(const std::vector<std::uint64_t> refcounts, co_await parts_.allocator.refcounts_of(clusters));
  bool has_changed = false;
  for (std::size_t k = 0; k < entries.size(); ++k) {
    // The snapshot's reference and the disk's are all that there are.
    if (refcounts[k] != 2) continue;
    table.set_descriptor(entries[k], table.entry(entries[k]).descriptor | kEntryCopied);
    has_changed = true;
  }
  co_return has_changed;
}

bool TableRelease::is_metadata(std::span<const std::uint64_t> clusters) {
  const std::lock_guard lock(parts_.tables.mutex());
  const MetadataClusters& metadata = parts_.allocator.metadata();
  for (std::size_t i = 0; i < clusters.size();) {
    std::size_t count = 1;
    while (i + count < clusters.size() && clusters[i + count] == clusters[i] + count) ++count;
    if (metadata.contains(clusters[i], count)) return true;
    i += count;
  }
  return false;
}

aio::Task<bool> TableRelease::may_release(std::span<const std::uint64_t> references, std::uint64_t own_cluster) {
  for (std::size_t begin = 0; begin < references.size(); begin += Allocator::kCountedAtOnceMax) {
    const std::size_t count = std::min(references.size() - begin, Allocator::kCountedAtOnceMax);
    if (is_metadata(references.subspan(begin, count))) co_return false;
    co_await aio::next_turn();
  }
  co_return may_release_table(own_cluster);
}

bool TableRelease::may_release_table(std::uint64_t own_cluster) {
  const std::lock_guard lock(parts_.tables.mutex());
  const MetadataClusters& metadata = parts_.allocator.metadata();
  // It may have been a table of the disk.
  if (!metadata.contains(own_cluster, 1)) return true;
  const Refcounts& refcounts = parts_.allocator.refcounts();
  const std::uint64_t offset = own_cluster << parts_.geometry().cluster_bits;
  const auto is_in = [&](std::uint64_t begin, std::uint64_t bytes) { return offset - begin < bytes; };
  if (own_cluster == 0 || is_in(refcounts.table_offset(), refcounts.table_entries() * sizeof(std::uint64_t)) ||
      is_in(parts_.metadata.l1_offset(), parts_.tables.l1_size() * sizeof(std::uint64_t))) {
    return false;
  }
  for (std::uint64_t block = 0; block < refcounts.table_entries(); ++block) {
    if (refcounts.block_offset(block) == offset) return false;
  }
  return true;
}

aio::Task<IoResult> TableRelease::release(Table released) {
  const Geometry& geometry = parts_.geometry();
  CO_TRY_ASSIGN(const TableContent table, co_await read_table(parts_.file.node(), geometry, released.offset));
  const std::uint64_t own_cluster = geometry.cluster_of(released.offset);
  TableReferences found = co_await find_references(table);
  std::vector<std::uint64_t>& references = found.clusters;
  if (!co_await may_release(references, own_cluster)) co_return fail(EIO);
  references.push_back(own_cluster);
  CO_TRY(co_await parts_.allocator.relocate_blocks(references));
  const std::uint64_t disk_offset = parts_.tables.l1_entry(released.index) & kEntryOffsetMask;
  CO_TRY_ASSIGN(const std::optional<TableContent> changed, co_await with_new_flags(released.index, table));
  std::uint64_t copy = 0;
  if (changed) {
    CO_TRY_ASSIGN(copy, co_await write_new_table(*changed));
  }
  CO_TRY_ASSIGN(const std::uint64_t own_refcount, co_await parts_.allocator.refcount(own_cluster));
  if (own_refcount < (disk_offset == released.offset ? 2 : 1)) co_return fail(EIO);
  if (const IoResult counted = co_await parts_.allocator.decrease(references); !counted) {
    if (changed) give_back(copy);
    co_return counted;
  }
  const std::lock_guard lock(parts_.tables.mutex());
  if (changed) {
    parts_.allocator.metadata().add(copy);
    parts_.tables.cache().replace_table(released.index, changed->bytes());
    parts_.tables.set_l1_entry(released.index, copy << geometry.cluster_bits | kEntryCopied);
    parts_.allocator.free({.clusters = {geometry.cluster_of(disk_offset), 1}});
  } else if (disk_offset == released.offset && own_refcount == 2) {
    parts_.tables.set_l1_entry(released.index, disk_offset | kEntryCopied);
  }
  co_return IoResult();
}

}  // namespace blockexport::drivers::qcow2
