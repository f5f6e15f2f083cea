// PieceCache: the pieces of an image's block tables that are in memory. A read-only image never changes them.
//
// The cache is divided into shards by the numbers of pieces, each with a short lock of its own; a full shard gives up
// the piece that was put in first. Owned by a MappedDisk. Any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace blockexport::drivers::foreign {

class PieceCache {
 public:
  using Piece = std::shared_ptr<const std::vector<std::byte>>;

  // `bytes_max`: of all pieces together. A shard always keeps one piece, whatever its size.
  explicit PieceCache(std::uint64_t bytes_max) : shard_bytes_max_(bytes_max / kShards) {}

  // Null: it is not here.
  Piece find(std::uint64_t number) const;
  // Does nothing when it is here already.
  void insert(std::uint64_t number, Piece piece);

 private:
  static constexpr std::size_t kShards = 16;

  struct Shard {
    mutable std::mutex mutex;  // guards what follows
    std::unordered_map<std::uint64_t, Piece> pieces;
    std::deque<std::uint64_t> order;  // the oldest first
    std::uint64_t bytes = 0;
  };

  std::array<Shard, kShards> shards_;
  std::uint64_t shard_bytes_max_;
};

}  // namespace blockexport::drivers::foreign
