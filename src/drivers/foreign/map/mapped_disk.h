// MappedDisk: lookup of the bytes of a disk that lies in blocks of one file or of several: a list of extents, each flat
// or with a table of blocks, whose pieces are read on demand.
//
// Owned by a MappedDriver; borrows the edges to its files. Any reactor. It reads nothing but tables.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "aio/task/task.h"
#include "block/edge.h"
#include "block/range.h"
#include "drivers/foreign/format/block_table.h"
#include "drivers/foreign/map/piece_cache.h"

namespace blockexport::drivers::foreign {

// A part of the disk, in one file.
struct MappedExtent {
  block::Range range = {};                         // of the disk; not empty
  block::Edge* file = nullptr;                     // null: there is no file, and the part is zeros
  std::optional<BlockTable> table = std::nullopt;  // nothing: flat, from flat_offset on
  std::uint64_t flat_offset = 0;
  // The file alone tells what is a hole in allocated blocks, because the image's tables do not.
  bool file_has_holes = false;
};

// Consecutive bytes that the image has in one way, and in consecutive bytes of a file.
struct DiskRun {
  BlockKind kind = BlockKind::kUnallocated;
  std::uint64_t length = 0;
  const MappedExtent* extent = nullptr;
  std::uint64_t offset = 0;           // kData: in the file, of the first byte; kCompressed: of the block's begin
  std::uint64_t offset_in_block = 0;  // kCompressed
};

class MappedDisk {
 public:
  // Memory of the pieces of tables of one image.
  static constexpr std::uint64_t kTableCacheBytesMax = 16u << 20;
  // Entries that one lookup joins.
  static constexpr std::uint64_t kRunBlocksMax = 4096;

  // The extents are in order and without a gap, from 0 on.
  explicit MappedDisk(std::vector<MappedExtent> extents);

  std::uint64_t size_bytes() const { return size_bytes_; }
  const std::vector<MappedExtent>& extents() const { return extents_; }

  // The run at the start of `range`, which lies in the disk and is not empty. Nothing: it needs a piece of a table that
  // is not in memory.
  std::optional<DiskRun> try_find(block::Range range) const;
  // The same, and reads the piece. Fails with the error of the read.
  aio::Task<std::expected<DiskRun, Errno>> find(block::Range range) const;

 private:
  struct Lookup;

  Lookup look_up(block::Range range) const;
  static DiskRun run_in_piece(const Lookup& lookup, const std::vector<std::byte>& piece);

  std::vector<MappedExtent> extents_;
  std::vector<std::unique_ptr<PieceCache>> caches_;  // of each extent; null for one without a table
  std::uint64_t size_bytes_;
};

}  // namespace blockexport::drivers::foreign
