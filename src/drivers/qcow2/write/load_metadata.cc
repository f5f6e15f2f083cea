#include "drivers/qcow2/write/load_metadata.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/task/current.h"
#include "base/byte_reader.h"
#include "block/buffers.h"
#include "block/debug_events.h"
#include "drivers/qcow2/file/table_turns.h"
#include "drivers/qcow2/file/zero_padded_read.h"
#include "drivers/qcow2/format/l2_entry.h"
#include "drivers/qcow2/format/snapshot_table.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::Range;

aio::Task<std::expected<std::vector<std::byte>, Errno>> read_bytes(block::Node& file, Range range) {
  std::vector<std::byte> bytes(range.length);
  const iovec vector{bytes.data(), bytes.size()};
  CO_TRY(co_await read_zero_padded(file, range, {&vector, 1}));
  co_return bytes;
}

aio::Task<Result<std::vector<std::uint64_t>>> read_refcount_table(const Header& header, block::Node& file) {
  const Geometry geometry = header.geometry();
  const Range range{header.refcount_table_offset,
                    std::uint64_t{header.refcount_table_clusters} << geometry.cluster_bits};
  block::debug_event(file, block::DebugEvent::kReftableLoad);
  const auto bytes = co_await read_bytes(file, range);
  if (!bytes) co_return fail(Error::system("Could not initialize refcount handling", bytes.error()));
  std::vector<std::uint64_t> table(range.length / sizeof(std::uint64_t));
  ByteReader reader(*bytes);
  for (std::uint64_t& entry : table) {
    entry = reader.u64();
    if (geometry.offset_in_cluster(entry) == 0 && entry < kHostOffsetLimit) continue;
    co_return fail(
        fmt::format("The refcount table refers to a block at {:#x}, which is not the offset of a cluster; "
                    "the image is corrupt",
                    entry));
  }
  co_return table;
}

// The internal snapshots' own L1 tables, and the table that lists them.
aio::Task<Result<>> add_snapshots(const Header& header, block::Node& file, MetadataClusters& metadata) {
  if (header.snapshots == 0) co_return Result<>();
  const Geometry geometry = header.geometry();
  std::uint64_t length = snapshot_table_bytes_min(header);
  const std::uint64_t length_max = snapshot_table_bytes_max(header);
  while (true) {
    const auto bytes = co_await read_bytes(file, {header.snapshots_offset, length});
    if (!bytes) co_return fail(Error::system("Could not read snapshots", bytes.error()));
    if (length < length_max && !has_whole_snapshot_table(header, *bytes)) {
      length = std::min(length_max, length * 4);
      continue;
    }
    CO_TRY_ASSIGN(const SnapshotTable table, parse_snapshot_table(header, *bytes));
    const auto add = [&](std::uint64_t offset, std::uint64_t size) {
      metadata.add_fixed(geometry.cluster_of(offset), (size + geometry.cluster_bytes() - 1) >> geometry.cluster_bits);
    };
    add(header.snapshots_offset, table.table_bytes);
    for (const Snapshot& snapshot : table.snapshots) {
      add(snapshot.l1_offset, std::uint64_t{snapshot.l1_entries} * sizeof(std::uint64_t));
    }
    co_return Result<>();
  }
}

}  // namespace

aio::Task<Result<ImageWriter::Image>> load_image_for_writing(const Header& header, const HeaderExtensions& extensions,
                                                             std::span<const std::uint64_t> l1, block::Node& file,
                                                             std::size_t clean_refcount_blocks_max) {
  const Geometry geometry = header.geometry();
  CO_TRY_ASSIGN(std::vector<std::uint64_t> refcount_table, co_await read_refcount_table(header, file));
  MetadataClusters metadata;
  metadata.add_fixed(0, 1);
  metadata.add_fixed(geometry.cluster_of(header.refcount_table_offset), header.refcount_table_clusters);
  for (const std::uint64_t block : refcount_table) {
    if (block != 0) metadata.add_fixed(geometry.cluster_of(block), 1);
  }
  const std::uint64_t l1_bytes = l1.size() * sizeof(std::uint64_t);
  metadata.add_fixed(geometry.cluster_of(header.l1_offset),
                     geometry.cluster_of(l1_bytes + geometry.cluster_bytes() - 1));
  for (std::size_t i = 0; i < l1.size(); ++i) {
    if (i % kTableEntriesPerTurn == 0) co_await aio::next_turn();
    const std::uint64_t table = l1[i] & kEntryOffsetMask;
    if (table != 0) metadata.add_fixed(geometry.cluster_of(table), 1);
  }
  CO_TRY(co_await add_snapshots(header, file, metadata));
  if (const std::optional<BitmapsExtension> bitmaps = extensions.bitmaps(header)) {
    metadata.add_fixed(geometry.cluster_of(bitmaps->directory_offset),
                       geometry.cluster_of(bitmaps->directory_bytes + geometry.cluster_bytes() - 1));
  }
  if (const std::optional<EncryptionExtension> encryption = extensions.encryption()) {
    metadata.add_fixed(
        geometry.cluster_of(encryption->offset),
        geometry.cluster_of(std::min(encryption->bytes, kEncryptionHeaderBytesMax) + geometry.cluster_bytes() - 1));
  }
  metadata.settle();
  const bool can_grow = file.driver().can_grow();
  co_return ImageWriter::Image{
      .refcount_table = std::move(refcount_table),
      .refcount_table_offset = header.refcount_table_offset,
      .l1_offset = header.l1_offset,
      .metadata = std::move(metadata),
      .allocation = {.clean_blocks_max = clean_refcount_blocks_max,
                     .fresh_from = can_grow ? geometry.round_up(file.size_bytes()) : UINT64_MAX},
      .compression_type = header.compression_type};
}

}  // namespace blockexport::drivers::qcow2
