#include "drivers/foreign/map/piece_cache.h"

#include <utility>

namespace blockexport::drivers::foreign {

PieceCache::Piece PieceCache::find(std::uint64_t number) const {
  const Shard& shard = shards_[number % kShards];
  const std::scoped_lock lock(shard.mutex);
  const auto found = shard.pieces.find(number);
  return found == shard.pieces.end() ? nullptr : found->second;
}

void PieceCache::insert(std::uint64_t number, Piece piece) {
  Shard& shard = shards_[number % kShards];
  const std::scoped_lock lock(shard.mutex);
  const std::uint64_t bytes = piece->size();
  if (!shard.pieces.emplace(number, std::move(piece)).second) return;
  shard.order.push_back(number);
  shard.bytes += bytes;
  while (shard.bytes > shard_bytes_max_ && shard.order.size() > 1) {
    const auto oldest = shard.pieces.find(shard.order.front());
    shard.bytes -= oldest->second->size();
    shard.pieces.erase(oldest);
    shard.order.pop_front();
  }
}

}  // namespace blockexport::drivers::foreign
