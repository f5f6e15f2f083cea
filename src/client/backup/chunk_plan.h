// ChunkPlan: cuts the segments of a disk into chunks: the unit of reads, checksums and the journal.
//
// Data is cut at multiples of the chunk size, so the same disk gives the same chunks, however the server splits its
// answers. A run of zeroes is one chunk. Memory is bounded by the segments that were added and not yet taken. Thread:
// one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "client/backup/block_status.h"

namespace blockexport::backup {

// Bytes of data under one checksum.
inline constexpr std::uint64_t kChunkBytesMax = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kChunkBytesMin = 512;

enum class ChunkKind : std::uint8_t { kData = 1, kZero = 2 };

struct Chunk {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  ChunkKind kind = ChunkKind::kData;
  std::uint64_t end() const { return offset + length; }
  friend bool operator==(const Chunk&, const Chunk&) = default;
};

class ChunkPlan {
 public:
  // `chunk_bytes` is a power of two.
  explicit ChunkPlan(std::uint64_t chunk_bytes) : chunk_bytes_(chunk_bytes) {}

  // Adds the segments that follow the last ones.
  void add(std::span<const Segment> segments);
  // No segment follows.
  void finish() { is_finished_ = true; }

  // The next chunk; nothing when it needs more segments, or after the last one.
  std::optional<Chunk> next();
  // Segments that next() has not reached.
  std::size_t waiting() const { return queue_.size() - next_; }

 private:
  // Moves the segments that continue the current run into it.
  void extend_run();

  std::uint64_t chunk_bytes_;
  std::vector<Segment> queue_;
  std::size_t next_ = 0;
  Segment run_;  // of equal segments; length 0: none
  bool is_finished_ = false;
};

}  // namespace blockexport::backup
