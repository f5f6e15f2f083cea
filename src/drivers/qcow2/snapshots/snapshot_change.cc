#include "drivers/qcow2/snapshots/snapshot_change.h"

#include <algorithm>
#include <utility>

#include "aio/task/current.h"
#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "drivers/qcow2/commit/header_fields.h"
#include "drivers/qcow2/file/table_turns.h"
#include "drivers/qcow2/file/zero_padded_read.h"
#include "drivers/qcow2/snapshots/table_content.h"

namespace blockexport::drivers::qcow2 {
namespace {

// The part of a table that one turn of the event loop handles.
constexpr std::uint64_t kPieceBytes = 1u << 20;
constexpr std::uint64_t kEntryBytes = sizeof(std::uint64_t);

std::uint64_t clusters_of_bytes(const Geometry& geometry, std::uint64_t bytes) {
  return geometry.cluster_of(geometry.round_up(bytes));
}

void note_metadata(ImageParts& parts, HostClusters clusters) {
  for (std::uint64_t i = 0; i < clusters.count; ++i) parts.allocator.metadata().add(clusters.first + i);
}

// Fills the clusters: zeros behind the bytes.
aio::Task<IoResult> write_padded(ImageParts& parts, std::uint64_t offset, std::vector<std::byte> bytes) {
  bytes.resize(parts.geometry().round_up(bytes.size()));
  const iovec vector{bytes.data(), bytes.size()};
  co_return co_await parts.file.node().write({offset, bytes.size()}, {&vector, 1}, {.may_grow = true});
}

aio::Task<IoResult> write_entries(ImageParts& parts, std::uint64_t offset, std::span<const std::uint64_t> l1) {
  for (std::uint64_t done = 0; done < l1.size(); done += kPieceBytes / kEntryBytes) {
    const auto part = l1.subspan(done, std::min<std::uint64_t>(l1.size() - done, kPieceBytes / kEntryBytes));
    std::vector<std::byte> bytes(part.size() * kEntryBytes);
    ByteWriter writer(bytes);
    for (const std::uint64_t entry : part) writer.u64(entry);
    block::debug_event(parts.file, block::DebugEvent::kL1GrowWriteTable);
    CO_TRY(co_await write_padded(parts, offset + done * kEntryBytes, std::move(bytes)));
    co_await aio::next_turn();
  }
  co_return IoResult();
}

// A copy of each L2 table that has flags, and a further reference to each other one, and to all clusters.
class Copying {
 public:
  explicit Copying(ImageParts& parts) : parts_(parts) {}

  // Changes the entries to those of the disk. An error: nothing refers to anything.
  aio::Task<IoResult> run(std::vector<std::uint64_t>& l1);
  aio::Task<void> undo();

 private:
  struct Counted {
    std::uint64_t table = 0;  // whose references were counted
    std::uint64_t copy = 0;   // number of its cluster; 0: the table itself has another reference
  };

  aio::Task<IoResult> copy(std::uint64_t& entry);

  ImageParts& parts_;
  std::vector<Counted> counted_;
};

aio::Task<IoResult> Copying::run(std::vector<std::uint64_t>& l1) {
  for (std::uint64_t i = 0; i < l1.size(); ++i) {
    if (i % kTableEntriesPerTurn == 0) co_await aio::next_turn();
    if (l1[i] == 0) continue;
    CO_TRY(co_await copy(l1[i]));
    if (parts_.metadata.should_commit()) CO_TRY(co_await parts_.metadata.commit());
    co_await aio::next_turn();
  }
  co_return IoResult();
}

aio::Task<IoResult> Copying::copy(std::uint64_t& entry) {
  const Geometry& geometry = parts_.geometry();
  CO_TRY_ASSIGN(TableContent table, co_await read_table(parts_.file.node(), geometry, entry));
  TableReferences found = co_await find_references(table);
  if (!found.is_valid) co_return fail(EIO);
  std::vector<std::uint64_t>& references = found.clusters;
  const bool needs_copy = found.has_copied_flags;
  if (!needs_copy) references.push_back(geometry.cluster_of(entry));
  CO_TRY(co_await parts_.allocator.increase(references));
  counted_.push_back({.table = entry});
  if (!needs_copy) co_return IoResult();
  co_await clear_copied_flags(table);
  CO_TRY_ASSIGN(const Allocated made, co_await parts_.allocator.allocate(1));
  counted_.back().copy = made.clusters.first;
  const std::uint64_t offset = made.clusters.first << geometry.cluster_bits;
  const iovec vector{const_cast<std::byte*>(table.bytes().data()), table.bytes().size()};
  CO_TRY(co_await parts_.file.node().write({offset, geometry.cluster_bytes()}, {&vector, 1}, {.may_grow = true}));
  entry = offset | kEntryCopied;
  co_return IoResult();
}

aio::Task<void> Copying::undo() {
  for (const Counted& one : counted_) {
    const auto table = co_await read_table(parts_.file.node(), parts_.geometry(), one.table);
    if (!table) continue;
    TableReferences found = co_await find_references(*table);
    std::vector<std::uint64_t>& references = found.clusters;
    if (one.copy == 0 && !found.has_copied_flags) references.push_back(parts_.geometry().cluster_of(one.table));
    (void)co_await parts_.allocator.decrease(references);
    if (one.copy == 0) continue;
    const std::lock_guard lock(parts_.tables.mutex());
    parts_.allocator.free({.clusters = {one.copy, 1}});
  }
}

}  // namespace

void free_clusters(ImageParts& parts, std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t count = clusters_of_bytes(parts.geometry(), bytes);
  if (count != 0) parts.allocator.free({.clusters = {parts.geometry().cluster_of(offset), count}});
}

aio::Task<std::expected<std::uint64_t, Errno>> write_snapshot_l1(ImageParts& parts, std::span<const std::uint64_t> l1) {
  const Geometry& geometry = parts.geometry();
  if (l1.empty()) co_return 0;
  CO_TRY_ASSIGN(const Allocated made,
                co_await parts.allocator.allocate_exactly(clusters_of_bytes(geometry, l1.size() * kEntryBytes)));
  const std::uint64_t offset = made.clusters.first << geometry.cluster_bits;
  const IoResult written = co_await write_entries(parts, offset, l1);
  const std::lock_guard lock(parts.tables.mutex());
  if (!written) {
    parts.allocator.free({.clusters = made.clusters});
    co_return fail(written.error().value());
  }
  note_metadata(parts, made.clusters);
  co_return offset;
}

aio::Task<std::expected<std::vector<std::uint64_t>, Errno>> read_snapshot_l1(ImageParts& parts,
                                                                             const Snapshot& snapshot) {
  const Geometry& geometry = parts.geometry();
  const std::uint64_t bytes_all = std::uint64_t{snapshot.l1_entries} * kEntryBytes;
  if (bytes_all > kL1BytesMax) co_return fail(EFBIG);
  if (geometry.offset_in_cluster(snapshot.l1_offset) != 0 || snapshot.l1_offset >= kHostOffsetLimit) {
    co_return fail(EINVAL);
  }
  std::vector<std::uint64_t> l1(snapshot.l1_entries);
  for (std::uint64_t done = 0; done < bytes_all; done += kPieceBytes) {
    std::vector<std::byte> bytes(std::min(kPieceBytes, bytes_all - done));
    const iovec vector{bytes.data(), bytes.size()};
    CO_TRY(co_await read_zero_padded(parts.file.node(), {snapshot.l1_offset + done, bytes.size()}, {&vector, 1}));
    ByteReader reader(bytes);
    for (std::uint64_t i = done / kEntryBytes; i < (done + bytes.size()) / kEntryBytes; ++i) {
      l1[i] = reader.u64() & kEntryOffsetMask;
      if (geometry.offset_in_cluster(l1[i]) != 0) co_return fail(EIO);
    }
    co_await aio::next_turn();
  }
  co_return l1;
}

aio::Task<IoResult> write_snapshot_table(ImageParts& parts, std::vector<Snapshot> snapshots, Header& header,
                                         SnapshotTable& table, bool& is_certain) {
  is_certain = true;
  const Geometry& geometry = parts.geometry();
  if (snapshots.size() > kSnapshotsMax) co_return fail(EFBIG);
  std::vector<std::byte> bytes = encode_snapshot_table(snapshots);
  const std::uint64_t table_bytes = bytes.size();
  if (table_bytes > kSnapshotTableBytesMax) co_return fail(EFBIG);
  SnapshotFields fields{.snapshots = static_cast<std::uint32_t>(snapshots.size())};
  HostClusters made;
  IoResult result;
  if (table_bytes != 0) {
    CO_TRY_ASSIGN(const Allocated taken,
                  co_await parts.allocator.allocate_exactly(clusters_of_bytes(geometry, table_bytes)));
    made = taken.clusters;
    fields.offset = made.first << geometry.cluster_bits;
    result = co_await write_padded(parts, fields.offset, std::move(bytes));
  }
  // All that the header is to refer to is durable then.
  if (result) result = co_await parts.metadata.commit();
  if (result) {
    result = co_await write_snapshot_fields(parts.file.node(), fields);
    // The header may have the new fields all the same, until it is known to have the former ones.
    if (!result) {
      const SnapshotFields former{.snapshots = header.snapshots, .offset = header.snapshots_offset};
      is_certain = (co_await write_snapshot_fields(parts.file.node(), former)).has_value();
    }
  }
  const std::lock_guard lock(parts.tables.mutex());
  if (!result) {
    if (is_certain && made.count != 0) parts.allocator.free({.clusters = made});
    if (!is_certain) note_metadata(parts, made);
    co_return result;
  }
  note_metadata(parts, made);
  free_clusters(parts, header.snapshots_offset, table.table_bytes);
  header.snapshots = fields.snapshots;
  header.snapshots_offset = fields.offset;
  table = {.snapshots = std::move(snapshots), .table_bytes = table_bytes};
  co_return IoResult();
}

aio::Task<IoResult> apply_snapshot(ImageParts& parts, std::vector<std::uint64_t> l1, std::uint64_t disk_bytes,
                                   const Header& header) {
  const Geometry& geometry = parts.geometry();
  const std::uint64_t entries = std::max<std::uint64_t>(l1.size(), geometry.l1_entries_for(disk_bytes));
  if (entries * kEntryBytes > kL1BytesMax) co_return fail(EFBIG);
  l1.resize(entries);
  Copying copying(parts);
  DiskFields fields{.disk_bytes = disk_bytes,
                    .encryption_method = header.encryption_method,
                    .l1_entries = static_cast<std::uint32_t>(entries)};
  IoResult result = co_await copying.run(l1);
  if (result) {
    const std::expected<std::uint64_t, Errno> offset = co_await write_snapshot_l1(parts, l1);
    if (offset) fields.l1_offset = *offset;
    if (!offset) result = fail(offset.error().value());
  }
  if (result) result = co_await parts.metadata.commit();
  if (result) {
    const DiskFields former{.disk_bytes = header.size_bytes,
                            .encryption_method = header.encryption_method,
                            .l1_entries = static_cast<std::uint32_t>(parts.tables.l1_size()),
                            .l1_offset = parts.metadata.l1_offset()};
    result = co_await write_disk_fields(parts.file.node(), fields);
    if (result) co_return result;
    // The header may have the new fields all the same. Unless it has the former ones again, both states keep all.
    if (!co_await write_disk_fields(parts.file.node(), former)) co_return result;
  }
  co_await copying.undo();
  {
    const std::lock_guard lock(parts.tables.mutex());
    if (fields.l1_offset != 0) free_clusters(parts, fields.l1_offset, entries * kEntryBytes);
  }
  (void)co_await parts.metadata.commit();
  co_return result;
}

}  // namespace blockexport::drivers::qcow2
