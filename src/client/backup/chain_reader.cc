#include "client/backup/chain_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/printable.h"

namespace blockexport::backup {

ChainReader::ChainReader(const std::vector<OpenPoint>& points)
    : disk_bytes_(points.back().manifest.manifest.disk_bytes) {
  layers_.reserve(points.size());
  for (const OpenPoint& point : points) {
    layers_.push_back({.point = &point, .reader = TableReader(point.table, point.bounds()), .record = {}});
  }
}

// Drops records that end before the current offset.
Result<> ChainReader::advance(Layer& layer) {
  while (!layer.has_ended && (!layer.record || layer.record->chunk.end() <= offset_)) {
    TRY_ASSIGN(layer.record, layer.reader.next());
    layer.has_ended = !layer.record.has_value();
  }
  return {};
}

Result<std::optional<ChainPiece>> ChainReader::next() {
  if (offset_ == disk_bytes_) {
    // The end of a table is checked too.
    for (Layer& layer : layers_) TRY(advance(layer));
    return std::nullopt;
  }
  ChainPiece piece;
  piece.offset = offset_;
  std::uint64_t end = disk_bytes_;
  for (std::size_t i = layers_.size(); i-- > 0;) {
    Layer& layer = layers_[i];
    TRY(advance(layer));
    if (!layer.record) continue;
    const Chunk& chunk = layer.record->chunk;
    if (chunk.offset > offset_) {
      end = std::min(end, chunk.offset);
      continue;
    }
    end = std::min(end, chunk.end());
    if (chunk.kind == ChunkKind::kData) {
      piece.point = i;
      piece.record = *layer.record;
    }
    break;
  }
  piece.length = end - offset_;
  offset_ = end;
  return piece;
}

Result<ChainReader::CachedChunk*> ChainReader::load(const ChainPiece& piece) {
  const Chunk& chunk = piece.record.chunk;
  const auto found = std::ranges::find_if(
      cache_, [&](const CachedChunk& one) { return one.point == *piece.point && one.offset == chunk.offset; });
  if (found != cache_.end()) return &*found;
  CachedChunk& cached = cache_.size() < kCachedChunksMax
                            ? cache_.emplace_back()
                            : *std::ranges::min_element(cache_, {}, &CachedChunk::last_use);
  // Until the data is verified, the entry is no chunk.
  cached.offset = UINT64_MAX;
  cached.last_use = ++uses_;
  cached.bytes.resize(chunk.length);
  const NamedFile& data = layers_[*piece.point].point->data;
  TRY(read_all(data, piece.record.position, cached.bytes));
  if (sha256_of(cached.bytes) != piece.record.sum) {
    return fail(Error(fmt::format("'{}' is damaged at byte {}: the checksum of the data is wrong",
                                  printable(data.path, 1024), piece.record.position))
                    .with_hint("Get the file from another copy of the backup; or restore an earlier point."));
  }
  cached.point = *piece.point;
  cached.offset = chunk.offset;
  return &cached;
}

Result<std::span<const std::byte>> ChainReader::read(const ChainPiece& piece) {
  TRY_ASSIGN(CachedChunk * cached, load(piece));
  cached->last_use = ++uses_;
  return std::span<const std::byte>(cached->bytes).subspan(piece.offset - piece.record.chunk.offset, piece.length);
}

}  // namespace blockexport::backup
