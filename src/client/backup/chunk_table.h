// The table of chunks of a point: 64 bytes for each chunk, in the order of offsets. See docs/backup-directory.md.
//
// While a pull is under way, the table is its journal: a record is written after the data of its chunk, and a slot
// without one is zero. Records of a file are untrusted: decode_record() accepts only possible ones, and TableReader
// only a possible sequence. Thread: one at a time; blocks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "client/backup/chunk_plan.h"
#include "client/backup/file_io.h"
#include "client/backup/sha256.h"

namespace blockexport::backup {

inline constexpr std::size_t kRecordBytes = 64;
struct ChunkRecord {
  Chunk chunk;
  std::uint64_t position = 0;  // of the data in the data file; 0 for zeroes
  Sha256 sum{};                // of the data; zero for zeroes
  friend bool operator==(const ChunkRecord&, const ChunkRecord&) = default;
};

using RecordBytes = std::array<std::byte, kRecordBytes>;

RecordBytes encode_record(const ChunkRecord& record);

// The record; nothing for bytes that are none.
std::optional<ChunkRecord> decode_record(std::span<const std::byte, kRecordBytes> bytes);

// The bounds that the records of a table must respect.
struct TableBounds {
  std::uint64_t records = 0;
  std::uint64_t disk_bytes = 0;
  std::uint64_t data_bytes = 0;    // of the data file
  bool covers_whole_disk = false;  // a full point
  bool is_packed = true;           // positions follow each other; otherwise they equal the offsets
};

// Checks one record after another against the bounds and its predecessors.
class RecordCheck {
 public:
  explicit RecordCheck(const TableBounds& bounds) : bounds_(bounds) {}
  // False: the table is damaged.
  bool accept(const ChunkRecord& record);
  // After the last record: false if some are missing.
  bool finish() const;

 private:
  TableBounds bounds_;
  std::uint64_t records_ = 0;
  std::uint64_t end_ = 0;       // of the last chunk
  std::uint64_t position_ = 0;  // end of the data so far
};

// Reads the records of a table in order, some thousands at a time.
class TableReader {
 public:
  // `file` outlives the reader.
  TableReader(const NamedFile& file, const TableBounds& bounds) : file_(&file), bounds_(bounds), check_(bounds) {}

  // The next record; nothing after the last one. Error: the table is truncated or damaged.
  Result<std::optional<ChunkRecord>> next();

 private:
  static constexpr std::size_t kRecordsAtOnce = 1024;
  Result<> fill();

  const NamedFile* file_;
  TableBounds bounds_;
  RecordCheck check_;
  std::vector<std::byte> bytes_;
  std::size_t taken_ = 0;
  std::uint64_t read_ = 0;  // records read from the file
};

// The checksum of the first `records` records. Error: the file is shorter.
Result<Sha256> sum_of_table(const NamedFile& file, std::uint64_t records);

}  // namespace blockexport::backup
