#include "client/backup/chunk_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/printable.h"

namespace blockexport::backup {

RecordBytes encode_record(const ChunkRecord& record) {
  RecordBytes bytes{};
  ByteWriter writer(bytes);
  writer.u64(record.chunk.offset);
  writer.u64(record.chunk.length);
  writer.u64(record.position);
  writer.u32(static_cast<std::uint32_t>(record.chunk.kind));
  writer.u32(0);
  writer.bytes(record.sum);
  return bytes;
}

std::optional<ChunkRecord> decode_record(std::span<const std::byte, kRecordBytes> bytes) {
  ByteReader reader(bytes);
  ChunkRecord record;
  record.chunk.offset = reader.u64();
  record.chunk.length = reader.u64();
  record.position = reader.u64();
  const std::uint32_t kind = reader.u32();
  if (reader.u32() != 0) return std::nullopt;
  std::ranges::copy(reader.bytes(record.sum.size()), record.sum.begin());
  if (record.chunk.length == 0 || record.chunk.offset > INT64_MAX ||
      record.chunk.length > INT64_MAX - record.chunk.offset) {
    return std::nullopt;
  }
  if (kind == static_cast<std::uint32_t>(ChunkKind::kZero)) {
    record.chunk.kind = ChunkKind::kZero;
    if (record.position != 0 || record.sum != Sha256{}) return std::nullopt;
    return record;
  }
  if (kind != static_cast<std::uint32_t>(ChunkKind::kData)) return std::nullopt;
  if (record.chunk.length > kChunkBytesMax || record.position > INT64_MAX - kChunkBytesMax) return std::nullopt;
  return record;
}

bool RecordCheck::accept(const ChunkRecord& record) {
  const Chunk& chunk = record.chunk;
  if (records_ == bounds_.records || chunk.offset < end_) return false;
  if (bounds_.covers_whole_disk && chunk.offset != end_) return false;
  if (chunk.end() > bounds_.disk_bytes) return false;
  if (chunk.kind == ChunkKind::kData) {
    const std::uint64_t expected = bounds_.is_packed ? position_ : chunk.offset;
    if (record.position != expected || record.position + chunk.length > bounds_.data_bytes) return false;
    position_ = record.position + chunk.length;
  }
  end_ = chunk.end();
  ++records_;
  return true;
}

bool RecordCheck::finish() const {
  if (records_ != bounds_.records) return false;
  if (bounds_.is_packed && position_ != bounds_.data_bytes) return false;
  return !bounds_.covers_whole_disk || end_ == bounds_.disk_bytes;
}

Result<> TableReader::fill() {
  const std::uint64_t count = std::min<std::uint64_t>(bounds_.records - read_, kRecordsAtOnce);
  bytes_.resize(count * kRecordBytes);
  TRY(read_all(*file_, read_ * kRecordBytes, bytes_));
  read_ += count;
  taken_ = 0;
  return {};
}

Result<std::optional<ChunkRecord>> TableReader::next() {
  const auto damaged = [this] {
    return fail(Error(fmt::format("'{}' is damaged", printable(file_->path, 1024)))
                    .with_hint("Get the file from another copy of the backup; or restore an earlier point."));
  };
  if (taken_ == bytes_.size()) {
    if (read_ == bounds_.records) {
      if (!check_.finish()) return damaged();
      return std::nullopt;
    }
    TRY(fill());
  }
  const auto record = decode_record(std::span(bytes_).subspan(taken_).first<kRecordBytes>());
  if (!record || !check_.accept(*record)) return damaged();
  taken_ += kRecordBytes;
  return record;
}

Result<Sha256> sum_of_table(const NamedFile& file, std::uint64_t records) {
  Sha256Hash hash;
  std::vector<std::byte> bytes;
  for (std::uint64_t done = 0; done < records;) {
    const std::uint64_t count = std::min<std::uint64_t>(records - done, 1024);
    bytes.resize(count * kRecordBytes);
    TRY(read_all(file, done * kRecordBytes, bytes));
    hash.add(bytes);
    done += count;
  }
  return hash.finish();
}

}  // namespace blockexport::backup
