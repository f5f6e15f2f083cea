// ChainReader: the contents of the disk at a point, composed from the points of its chain.
//
// Walks the tables of all points side by side, so that each byte of the disk comes once, from the newest point that has
// it. Verifies the checksum of each chunk whose data is used. Memory: a part of each table, and a few chunks. Thread:
// one; blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "client/backup/backup_directory.h"
#include "client/backup/chunk_table.h"

namespace blockexport::backup {

// Chunks of data in memory. A chunk of which later points replaced parts is read again if more such chunks overlap.
inline constexpr std::size_t kCachedChunksMax = 64;

// A range of the disk: zeroes, or data of one chunk of one point.
struct ChainPiece {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::optional<std::size_t> point;  // position in the chain; none: zeroes
  ChunkRecord record;                // the chunk with the data
};

class ChainReader {
 public:
  // The points of a chain, the full one first.
  explicit ChainReader(const std::vector<OpenPoint>& points);

  // The piece that follows the last one; nothing at the end of the disk. Error: a table is damaged.
  Result<std::optional<ChainPiece>> next();

  // The data of a piece; valid until the next call. Error: the data file cannot be read, or is damaged.
  Result<std::span<const std::byte>> read(const ChainPiece& piece);

 private:
  struct Layer {
    const OpenPoint* point;
    TableReader reader;
    std::optional<ChunkRecord> record;  // the first that ends behind the current offset
    bool has_ended = false;
  };
  struct CachedChunk {
    std::size_t point = 0;
    std::uint64_t offset = 0;
    std::uint64_t last_use = 0;
    std::vector<std::byte> bytes;
  };

  Result<> advance(Layer& layer);
  Result<CachedChunk*> load(const ChainPiece& piece);

  std::vector<Layer> layers_;
  std::uint64_t disk_bytes_;
  std::uint64_t offset_ = 0;
  std::vector<CachedChunk> cache_;
  std::uint64_t uses_ = 0;
};

}  // namespace blockexport::backup
