#include "drivers/foreign/map/mapped_disk.h"

#include <algorithm>
#include <cassert>

#include "drivers/foreign/map/file_read.h"

namespace blockexport::drivers::foreign {

using block::Range;

// The first step: the extent, and the piece of its table that has the entry.
struct MappedDisk::Lookup {
  std::optional<DiskRun> run;  // already known without a piece
  const MappedExtent* extent = nullptr;
  PieceCache* cache = nullptr;
  TablePiece piece;
  std::uint64_t offset = 0;      // in the extent
  std::uint64_t length_max = 0;  // to the end of the range or of the extent
};

MappedDisk::MappedDisk(std::vector<MappedExtent> extents)
    : extents_(std::move(extents)), size_bytes_(extents_.empty() ? 0 : extents_.back().range.end()) {
  const auto tables = std::ranges::count_if(extents_, [](const MappedExtent& one) { return one.table.has_value(); });
  const std::uint64_t bytes_max = kTableCacheBytesMax / std::max<std::uint64_t>(1, static_cast<std::uint64_t>(tables));
  for (const MappedExtent& extent : extents_) {
    assert(!extent.range.empty());
    caches_.push_back(extent.table ? std::make_unique<PieceCache>(bytes_max) : nullptr);
  }
}

MappedDisk::Lookup MappedDisk::look_up(Range range) const {
  const auto after =
      std::ranges::upper_bound(extents_, range.offset, {}, [](const MappedExtent& one) { return one.range.offset; });
  const auto index = static_cast<std::size_t>(after - extents_.begin()) - 1;
  const MappedExtent& extent = extents_[index];
  Lookup lookup{.run = std::nullopt, .extent = &extent, .cache = caches_[index].get(), .piece = {}};
  lookup.offset = range.offset - extent.range.offset;
  lookup.length_max = std::min(range.length, extent.range.length - lookup.offset);
  DiskRun run{.length = lookup.length_max, .extent = &extent};
  if (!extent.table) {
    run.kind = extent.file == nullptr ? BlockKind::kZero : BlockKind::kData;
    run.offset = extent.flat_offset + lookup.offset;
    lookup.run = run;
    return lookup;
  }
  const BlockTable& table = *extent.table;
  const std::uint64_t block = lookup.offset / table.block_bytes;
  if (block >= table.block_count) {
    lookup.run = run;
    return lookup;
  }
  const std::optional<TablePiece> piece = piece_of(table, block);
  if (!piece) {
    // The whole grain table is missing.
    const std::uint64_t end = (block / table.entries_per_grain_table + 1) * table.entries_per_grain_table;
    run.length = std::min(run.length, end * table.block_bytes - lookup.offset);
    lookup.run = run;
    return lookup;
  }
  lookup.piece = *piece;
  return lookup;
}

DiskRun MappedDisk::run_in_piece(const Lookup& lookup, const std::vector<std::byte>& piece) {
  const BlockTable& table = *lookup.extent->table;
  std::uint64_t block = lookup.offset / table.block_bytes;
  const std::uint64_t in_block = lookup.offset % table.block_bytes;
  const BlockPlace first = decode_entry(table, piece, lookup.piece.entry_offset);
  DiskRun run{.kind = first.kind, .length = table.block_bytes - in_block, .extent = lookup.extent};
  if (first.kind == BlockKind::kData) run.offset = first.offset + in_block;
  if (first.kind == BlockKind::kCompressed) {
    run.offset = first.offset;
    run.offset_in_block = in_block;
  }
  const bool joins = first.kind != BlockKind::kCompressed;
  for (std::uint64_t count = 1; joins && count < kRunBlocksMax && run.length < lookup.length_max; ++count) {
    if (++block >= table.block_count) break;
    const std::optional<TablePiece> next = piece_of(table, block);
    if (!next || next->number != lookup.piece.number) break;
    const BlockPlace place = decode_entry(table, piece, next->entry_offset);
    if (place.kind != run.kind) break;
    if (place.kind == BlockKind::kData && place.offset != run.offset + run.length) break;
    run.length += table.block_bytes;
  }
  run.length = std::min(run.length, lookup.length_max);
  return run;
}

std::optional<DiskRun> MappedDisk::try_find(Range range) const {
  const Lookup lookup = look_up(range);
  if (lookup.run) return lookup.run;
  const PieceCache::Piece piece = lookup.cache->find(lookup.piece.number);
  if (piece == nullptr) return std::nullopt;
  return run_in_piece(lookup, *piece);
}

aio::Task<std::expected<DiskRun, Errno>> MappedDisk::find(Range range) const {
  const Lookup lookup = look_up(range);
  if (lookup.run) co_return *lookup.run;
  PieceCache::Piece piece = lookup.cache->find(lookup.piece.number);
  if (piece == nullptr) {
    CO_TRY_ASSIGN(std::vector<std::byte> bytes,
                  co_await read_bytes(lookup.extent->file->node(), lookup.piece.offset, lookup.piece.bytes));
    piece = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
    lookup.cache->insert(lookup.piece.number, piece);
  }
  co_return run_in_piece(lookup, *piece);
}

}  // namespace blockexport::drivers::foreign
