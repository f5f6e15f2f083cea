// BlockTable: the table of an image that tells for each block of the disk where its bytes are in the image's file.
//
// All formats of this folder have one, and differ in the layout of the table and in the form of its entries, which this
// type describes. Pure values and functions, without I/O; any thread. Entries are untrusted: a place may lie anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace blockexport::drivers::foreign {

// The form of an entry. The comment of decode_entry() names the sections of the specifications.
enum class EntryForm : std::uint8_t { kVdi, kVpc, kVmdk, kVhdx, kParallels };

enum class BlockKind : std::uint8_t {
  kUnallocated,  // in the backing image; zeros without one
  kZero,
  kData,
  kCompressed,
  kInvalid,  // the entry is wrong
};

struct BlockPlace {
  BlockKind kind = BlockKind::kUnallocated;
  std::uint64_t offset = 0;  // of kData and kCompressed, in the file

  friend bool operator==(const BlockPlace&, const BlockPlace&) = default;
};

struct BlockTable {
  // Bytes of the table that are read at once; a grain table of VMDK is a piece of its own.
  static constexpr std::uint64_t kPieceBytes = 16u << 10;

  EntryForm form = EntryForm::kVdi;
  std::uint64_t block_bytes = 0;  // at least 512
  std::uint64_t block_count = 0;
  std::uint64_t table_offset = 0;  // of the first entry; unused with grain tables
  std::uint64_t unit_bytes = 1;    // by which the number in an entry is multiplied
  std::uint64_t data_offset = 0;   // added to the product
  // VHDX: after so many entries follows one that belongs to no block. 0: none does.
  std::uint64_t blocks_per_chunk = 0;
  // VMDK: places of the grain tables in the file; 0: the table is missing, and its blocks are unallocated.
  std::vector<std::uint64_t> grain_tables = {};
  std::uint64_t entries_per_grain_table = 0;  // 0: the table is one piece of the file
  bool has_zero_entries = false;              // VMDK: the entry 1 stands for zeros
  bool is_compressed = false;                 // VMDK
  bool has_markers = false;                   // VMDK: the length of each compressed grain is in front of it

  std::uint64_t entry_bytes() const { return form == EntryForm::kVhdx ? 8 : 4; }
  // Entries up to the last one of a block, those that belong to none included.
  std::uint64_t entry_count() const;
  std::uint64_t table_bytes() const { return entry_count() * entry_bytes(); }
};

// The part of the table with the entry of a block.
struct TablePiece {
  std::uint64_t number = 0;  // among the pieces of the table
  std::uint64_t offset = 0;  // in the file
  std::uint64_t bytes = 0;
  std::uint64_t entry_offset = 0;  // of the entry, in the piece
};

// `block` is less than block_count. Nothing: no table has an entry for it, so the block is unallocated.
std::optional<TablePiece> piece_of(const BlockTable& table, std::uint64_t block);

// The place of a block, by the entry at `offset` in `piece`, which contains it. VDI 1.1: an index of a block of data,
// 0xffffffff and 0xfffffffe for none; VHD 1.0, "Block Allocation Table": a sector, 0xffffffff for none; VMDK 1.1,
// "Grain Tables": a sector, 0 for none, 1 for zeros where the header allows it; VHDX 1.0, section 2.5.1: a state and an
// offset in MiB; Parallels: a number of units, 0 for none.
BlockPlace decode_entry(const BlockTable& table, std::span<const std::byte> piece, std::uint64_t offset);

// The smallest table of whole blocks that a disk of that size needs.
constexpr std::uint64_t blocks_for(std::uint64_t disk_bytes, std::uint64_t block_bytes) {
  return disk_bytes / block_bytes + (disk_bytes % block_bytes != 0 ? 1 : 0);
}

}  // namespace blockexport::drivers::foreign
