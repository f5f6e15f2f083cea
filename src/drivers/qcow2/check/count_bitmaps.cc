#include <fmt/format.h>

#include <algorithm>

#include "drivers/qcow2/check/count_references.h"
#include "drivers/qcow2/check/table_pieces.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kWordBytes = 8;
constexpr std::uint64_t kFirstReadBytes = 4096;
constexpr std::uint32_t kExtraBytesVersion3 = 16;

// Number of table entries of a bitmap of the disk's size. Bits stand in words.
std::uint64_t entries_for(const Header& header, const StoredBitmap& bitmap) {
  const std::uint64_t granularity = std::uint64_t{1} << bitmap.granularity_bits;
  const std::uint64_t bits = (header.disk_bytes() + granularity - 1) / granularity;
  const std::uint64_t bytes = (bits + 63) / 64 * kWordBytes;
  return (bytes + header.cluster_bytes() - 1) / header.cluster_bytes();
}

aio::Task<Result<>> count_bitmap(CheckState& state, const StoredBitmap& bitmap) {
  if ((bitmap.flags & kBitmapInUse) == 0 && bitmap.table_entries != entries_for(state.header, bitmap)) {
    state.corrupt("ERROR bitmap: its table does not have the length that the size of the disk needs");
  }
  const std::uint64_t bytes = bitmap.table_entries * kWordBytes;
  CO_TRY(add_region(state, bitmap.table_offset, bytes));
  if (bitmap.table_offset > INT64_MAX - bytes) co_return Result<>();
  TablePieces pieces(state.file, bitmap.table_offset, bytes);
  while (true) {
    const auto more = co_await pieces.next();
    if (!more) co_return unreadable(state, "bitmap table", more.error());
    if (!*more) co_return Result<>();
    for (std::size_t i = 0; i < pieces.piece().size() / kWordBytes; ++i) {
      const std::uint64_t entry = table_word(pieces.piece(), i);
      if (!is_valid_bitmap_entry(state.geometry, entry)) {
        state.corrupt(fmt::format("ERROR found invalid entry of a bitmap table: {:x}", entry));
        // Its cluster of bits is not known.
        state.is_incomplete = true;
        continue;
      }
      const std::uint64_t offset = entry & kBitmapEntryOffsetMask;
      if (offset != 0) CO_TRY(add_region(state, offset, state.geometry.cluster_bytes()));
    }
  }
}

// Entries without the fields that version 3 demands.
void report_incomplete(CheckState& state, const SnapshotTable& table) {
  if (state.header.version < 3) return;
  for (std::size_t i = 0; i < table.snapshots.size(); ++i) {
    if (table.snapshots[i].extra_bytes >= kExtraBytesVersion3) continue;
    state.corrupt(fmt::format("ERROR snapshot table entry {} is incomplete", i));
  }
}

}  // namespace

aio::Task<Result<>> count_bitmaps(CheckState& state) {
  const std::optional<BitmapsExtension> extension = state.extensions.bitmaps(state.header);
  if (!extension) co_return Result<>();
  CO_TRY(add_region(state, extension->directory_offset, extension->directory_bytes));
  std::vector<std::byte> bytes(static_cast<std::size_t>(extension->directory_bytes));
  TablePieces pieces(state.file, extension->directory_offset, extension->directory_bytes);
  while (true) {
    const auto more = co_await pieces.next();
    if (!more) co_return unreadable(state, "bitmap directory", more.error());
    if (!*more) break;
    const std::uint64_t begin = pieces.piece_offset() - extension->directory_offset;
    std::ranges::copy(pieces.piece(), bytes.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  const auto bitmaps = parse_bitmap_directory(state.header, *extension, bytes);
  if (!bitmaps) {
    state.corrupt(fmt::format("ERROR bitmap directory: {}", bitmaps.error().message()));
    state.is_incomplete = true;
    co_return Result<>();
  }
  for (const StoredBitmap& one : *bitmaps) CO_TRY(co_await count_bitmap(state, one));
  co_return Result<>();
}

aio::Task<Result<SnapshotTable>> read_snapshots(CheckState& state) {
  const Header& header = state.header;
  const std::uint64_t bytes_max = snapshot_table_bytes_max(header);
  Result<> place = header.snapshots > kSnapshotsMax ? fail("Snapshot table too large") : Result<>();
  if (place) {
    place =
        check_table(state.geometry, "Snapshot table", header.snapshots_offset, header.snapshots, kWordBytes, bytes_max);
  }
  if (!place) {
    state.corrupt(fmt::format("ERROR snapshot table: {}", place.error().message()));
    state.is_incomplete = true;
    co_return SnapshotTable();
  }
  if (header.snapshots == 0) co_return SnapshotTable();
  std::vector<std::byte> bytes;
  // The length of the table is known only from its entries.
  do {
    const std::uint64_t wanted = std::max<std::uint64_t>(kFirstReadBytes, 2 * bytes.size());
    bytes.resize(static_cast<std::size_t>(std::min(wanted, bytes_max)));
    const IoResult read = co_await read_file(state.file, header.snapshots_offset, bytes);
    if (!read) {
      CO_TRY(unreadable(state, "snapshot table", read.error()));
      co_return SnapshotTable();
    }
  } while (!has_whole_snapshot_table(header, bytes) && bytes.size() < bytes_max);
  auto table = parse_snapshot_table(header, bytes);
  if (table) {
    report_incomplete(state, *table);
    if (header.snapshots_offset + table->table_bytes > state.file.size_bytes()) state.is_incomplete = true;
    co_return std::move(*table);
  }
  state.corrupt(fmt::format("ERROR snapshot table: {}", table.error().message()));
  state.is_incomplete = true;
  co_return SnapshotTable();
}

}  // namespace blockexport::drivers::qcow2
