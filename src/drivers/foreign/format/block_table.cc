#include "drivers/foreign/format/block_table.h"

#include <algorithm>

#include "drivers/foreign/format/fields.h"

namespace blockexport::drivers::foreign {
namespace {

constexpr std::uint32_t kVdiDiscarded = 0xfffffffe;  // this and the next are no index
constexpr std::uint32_t kVpcUnused = 0xffffffff;
constexpr std::uint32_t kVmdkZero = 1;

// VHDX, section 2.5.1.1.
constexpr std::uint64_t kVhdxStateMask = 7;
constexpr std::uint64_t kVhdxOffsetMask = ~((std::uint64_t{1} << 20) - 1);
enum VhdxState : std::uint8_t {
  kNotPresent = 0,
  kUndefined = 1,
  kZero = 2,
  kUnmapped = 3,
  kUnmappedOfDraft = 5,  // version 0.95 of the specification
  kFullyPresent = 6,
};

BlockPlace decode_vhdx(std::uint64_t entry) {
  switch (entry & kVhdxStateMask) {
    case kNotPresent:
    case kUndefined:
    case kZero:
    case kUnmapped:
    case kUnmappedOfDraft:
      return {.kind = BlockKind::kZero};
    case kFullyPresent:
      return {.kind = BlockKind::kData, .offset = entry & kVhdxOffsetMask};
    default:
      return {.kind = BlockKind::kInvalid};
  }
}

// The product and the sum fit: a unit has less than 2^31 bytes.
BlockPlace at(const BlockTable& table, std::uint32_t number) {
  const std::uint64_t offset = number * table.unit_bytes + table.data_offset;
  return {.kind = table.is_compressed ? BlockKind::kCompressed : BlockKind::kData, .offset = offset};
}

}  // namespace

std::uint64_t BlockTable::entry_count() const {
  if (block_count == 0 || blocks_per_chunk == 0) return block_count;
  return block_count + (block_count - 1) / blocks_per_chunk;
}

std::optional<TablePiece> piece_of(const BlockTable& table, std::uint64_t block) {
  if (table.entries_per_grain_table != 0) {
    const std::uint64_t number = block / table.entries_per_grain_table;
    if (number >= table.grain_tables.size() || table.grain_tables[number] == 0) return std::nullopt;
    return TablePiece{.number = number,
                      .offset = table.grain_tables[number],
                      .bytes = table.entries_per_grain_table * table.entry_bytes(),
                      .entry_offset = block % table.entries_per_grain_table * table.entry_bytes()};
  }
  const std::uint64_t entry = block + (table.blocks_per_chunk == 0 ? 0 : block / table.blocks_per_chunk);
  const std::uint64_t place = entry * table.entry_bytes();
  const std::uint64_t number = place / BlockTable::kPieceBytes;
  const std::uint64_t begin = number * BlockTable::kPieceBytes;
  return TablePiece{.number = number,
                    .offset = table.table_offset + begin,
                    .bytes = std::min(BlockTable::kPieceBytes, table.table_bytes() - begin),
                    .entry_offset = place - begin};
}

BlockPlace decode_entry(const BlockTable& table, std::span<const std::byte> piece, std::uint64_t offset) {
  const Fields fields(piece);
  const std::uint32_t little = fields.le32(offset);
  switch (table.form) {
    case EntryForm::kVdi:
      return little >= kVdiDiscarded ? BlockPlace{.kind = BlockKind::kZero} : at(table, little);
    case EntryForm::kVpc: {
      const std::uint32_t sector = fields.be32(offset);
      return sector == kVpcUnused ? BlockPlace{.kind = BlockKind::kZero} : at(table, sector);
    }
    case EntryForm::kVmdk:
      if (little == 0) return {.kind = BlockKind::kUnallocated};
      if (little == kVmdkZero && table.has_zero_entries) return {.kind = BlockKind::kZero};
      return at(table, little);
    case EntryForm::kVhdx:
      return decode_vhdx(fields.le64(offset));
    case EntryForm::kParallels:
      return little == 0 ? BlockPlace{.kind = BlockKind::kUnallocated} : at(table, little);
  }
  return {.kind = BlockKind::kInvalid};
}

}  // namespace blockexport::drivers::foreign
