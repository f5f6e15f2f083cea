#include "client/backup/chunk_table.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

namespace blockexport::backup {
namespace {

ChunkRecord data_record(std::uint64_t offset, std::uint64_t length, std::uint64_t position) {
  ChunkRecord record{.chunk = {.offset = offset, .length = length, .kind = ChunkKind::kData}, .position = position};
  record.sum.fill(std::byte{7});
  return record;
}

ChunkRecord zero_record(std::uint64_t offset, std::uint64_t length) {
  return {.chunk = {.offset = offset, .length = length, .kind = ChunkKind::kZero}};
}

NamedFile file_of(const std::vector<ChunkRecord>& records) {
  NamedFile file{.fd = OwnedFd(::memfd_create("table", MFD_CLOEXEC)), .path = "table"};
  for (std::size_t i = 0; i < records.size(); ++i) {
    EXPECT_TRUE(write_all(file, i * kRecordBytes, encode_record(records[i])));
  }
  return file;
}

// True if the reader accepts the table as a whole.
bool is_accepted(const std::vector<ChunkRecord>& records, const TableBounds& bounds) {
  const NamedFile file = file_of(records);
  TableReader reader(file, bounds);
  for (;;) {
    const auto record = reader.next();
    if (!record) return false;
    if (!*record) return true;
  }
}

constexpr TableBounds kFull{.records = 2, .disk_bytes = 100, .data_bytes = 40, .covers_whole_disk = true};

TEST(ChunkRecordTest, ARecordSurvivesItsBytes) {
  for (const ChunkRecord& record : {data_record(4096, kChunkBytesMax, 12), zero_record(1, std::uint64_t{1} << 62)}) {
    EXPECT_EQ(decode_record(encode_record(record)), record);
  }
}

TEST(ChunkRecordTest, ImpossibleBytesAreNoRecord) {
  EXPECT_FALSE(decode_record(RecordBytes{}));
  for (const ChunkRecord& record :
       {data_record(0, kChunkBytesMax + 1, 0), data_record(0, 0, 0), data_record(UINT64_MAX, 1, 0),
        data_record(0, 1, UINT64_MAX), zero_record(INT64_MAX, 2)}) {
    EXPECT_FALSE(decode_record(encode_record(record)));
  }
  ChunkRecord zero_with_data = zero_record(0, 10);
  zero_with_data.position = 1;
  EXPECT_FALSE(decode_record(encode_record(zero_with_data)));
  RecordBytes of_another_kind = encode_record(zero_record(0, 10));
  of_another_kind[27] = std::byte{3};
  EXPECT_FALSE(decode_record(of_another_kind));
}

TEST(TableReaderTest, AFullTableCoversTheDisk) {
  EXPECT_TRUE(is_accepted({data_record(0, 40, 0), zero_record(40, 60)}, kFull));
  EXPECT_FALSE(is_accepted({data_record(0, 40, 0), zero_record(41, 59)}, kFull));
  EXPECT_FALSE(is_accepted({data_record(0, 40, 0), zero_record(40, 59)}, kFull));
  EXPECT_FALSE(is_accepted({data_record(0, 40, 0), zero_record(40, 61)}, kFull));
}

TEST(TableReaderTest, RecordsAreInOrderAndDoNotOverlap) {
  TableBounds bounds = kFull;
  bounds.covers_whole_disk = false;
  EXPECT_TRUE(is_accepted({data_record(10, 40, 0), zero_record(60, 10)}, bounds));
  EXPECT_FALSE(is_accepted({zero_record(60, 10), data_record(10, 40, 0)}, bounds));
  EXPECT_FALSE(is_accepted({data_record(10, 40, 0), zero_record(40, 10)}, bounds));
}

TEST(TableReaderTest, DataIsPacked) {
  TableBounds bounds{.records = 2, .disk_bytes = 100, .data_bytes = 40};
  EXPECT_TRUE(is_accepted({data_record(0, 30, 0), data_record(50, 10, 30)}, bounds));
  EXPECT_FALSE(is_accepted({data_record(0, 30, 0), data_record(50, 10, 20)}, bounds));
  EXPECT_FALSE(is_accepted({data_record(0, 30, 0), data_record(50, 9, 30)}, bounds));
  bounds.is_packed = false;
  bounds.data_bytes = 100;
  EXPECT_TRUE(is_accepted({data_record(0, 30, 0), data_record(50, 10, 50)}, bounds));
}

TEST(TableReaderTest, ATruncatedTableIsAnError) {
  EXPECT_FALSE(is_accepted({data_record(0, 40, 0)}, kFull));
}

}  // namespace
}  // namespace blockexport::backup
