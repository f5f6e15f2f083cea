#include "client/backup/chain_reader.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <utility>

namespace blockexport::backup {
namespace {

struct Range {
  std::uint64_t offset;
  std::uint64_t length;
  int value;  // 0: zeroes
};

NamedFile memory_file(const char* name) {
  return {.fd = OwnedFd(::memfd_create(name, MFD_CLOEXEC)), .path = name};
}

OpenPoint point_of(std::uint64_t disk_bytes, bool is_full, const std::vector<Range>& ranges) {
  OpenPoint point{.manifest = {}, .table = memory_file("table"), .data = memory_file("data")};
  Manifest& manifest = point.manifest.manifest;
  manifest.disk_bytes = disk_bytes;
  if (!is_full) manifest.parent = ParentPoint{.number = 1, .sum = {}};
  for (const Range& range : ranges) {
    ChunkRecord record{.chunk = {.offset = range.offset, .length = range.length, .kind = ChunkKind::kZero}};
    if (range.value != 0) {
      const std::vector<std::byte> bytes(range.length, static_cast<std::byte>(range.value));
      record.chunk.kind = ChunkKind::kData;
      record.position = manifest.data_bytes;
      record.sum = sha256_of(bytes);
      EXPECT_TRUE(write_all(point.data, manifest.data_bytes, bytes));
      manifest.data_bytes += range.length;
    }
    EXPECT_TRUE(write_all(point.table, manifest.records * kRecordBytes, encode_record(record)));
    ++manifest.records;
  }
  return point;
}

// A letter for each byte of the disk; "?" from the first error on.
std::string letters_of(const std::vector<OpenPoint>& points) {
  ChainReader reader(points);
  std::string letters;
  for (;;) {
    const auto piece = reader.next();
    if (!piece) return letters + "?";
    if (!*piece) return letters;
    if (!(*piece)->point) {
      letters.append((*piece)->length, '.');
      continue;
    }
    const auto bytes = reader.read(**piece);
    if (!bytes) return letters + "?";
    for (std::byte one : *bytes) letters += static_cast<char>(one);
  }
}

TEST(ChainReaderTest, TheNewestPointWithAByteHasIt) {
  std::vector<OpenPoint> points;
  points.push_back(point_of(10, true, {{0, 4, 'a'}, {4, 2, 0}, {6, 4, 'b'}}));
  EXPECT_EQ(letters_of(points), "aaaa..bbbb");
  points.push_back(point_of(10, false, {{2, 3, 'c'}, {7, 1, 0}}));
  EXPECT_EQ(letters_of(points), "aaccc.b.bb");
  points.push_back(point_of(10, false, {{3, 1, 0}, {6, 1, 'd'}, {9, 1, 'e'}}));
  EXPECT_EQ(letters_of(points), "aac.c.d.be");
}

TEST(ChainReaderTest, BytesThatNoPointHasAreZeroes) {
  std::vector<OpenPoint> points;
  points.push_back(point_of(4, true, {{0, 4, 'a'}}));
  points.push_back(point_of(8, false, {{6, 1, 'b'}}));
  EXPECT_EQ(letters_of(points), "aaaa..b.");
}

TEST(ChainReaderTest, ManyOverlappingChunksNeedLittleMemory) {
  std::vector<OpenPoint> points;
  points.push_back(point_of(200, true, {{0, 200, 'a'}}));
  std::string expected(200, 'a');
  for (std::uint64_t i = 0; i < kCachedChunksMax + 20; ++i) {
    points.push_back(point_of(200, false, {{2 * i, 1, 'b'}}));
    expected[2 * i] = 'b';
  }
  EXPECT_EQ(letters_of(points), expected);
}

TEST(ChainReaderTest, DamagedDataIsAnErrorOnlyIfItIsUsed) {
  std::vector<OpenPoint> points;
  points.push_back(point_of(4, true, {{0, 2, 'a'}, {2, 2, 'b'}}));
  const std::byte other{'x'};
  ASSERT_TRUE(write_all(points[0].data, 3, std::span(&other, 1)));
  EXPECT_EQ(letters_of(points), "aa?");
  points.push_back(point_of(4, false, {{2, 2, 'c'}}));
  EXPECT_EQ(letters_of(points), "aacc");
}

TEST(ChainReaderTest, ATableThatDoesNotCoverTheDiskIsDamaged) {
  std::vector<OpenPoint> points;
  points.push_back(point_of(10, true, {{0, 4, 'a'}}));
  EXPECT_EQ(letters_of(points), "aaaa?");
}

}  // namespace
}  // namespace blockexport::backup
