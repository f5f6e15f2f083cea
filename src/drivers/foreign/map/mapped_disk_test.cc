#include "drivers/foreign/map/mapped_disk.h"

#include "block/node.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"
#include "drivers/foreign/testing/image_bytes.h"

namespace blockexport::drivers::foreign {
namespace {

using block::Range;

constexpr std::uint64_t kBlock = 65536;

class MappedDiskTest : public block::ReactorTest {
 protected:
  MappedDiskTest() : state_(kBlock), node_("file", std::make_unique<block::MemoryDriver>(state_)) {
    edge_ = std::make_unique<block::Edge>(node_, block::EdgeParent{}, block::Permissions{});
  }
  MappedDisk disk(std::vector<std::uint32_t> entries, std::uint64_t bytes) {
    ImageBytes image(kBlock);
    for (std::size_t i = 0; i < entries.size(); ++i) image.le32(4 * i, entries[i]);
    state_.bytes = image.take();
    const BlockTable table{
        .form = EntryForm::kParallels, .block_bytes = kBlock, .block_count = entries.size(), .unit_bytes = kBlock};
    return MappedDisk({{.range = {0, bytes}, .file = edge_.get(), .table = table}});
  }

  block::MemoryDriverState state_;
  block::Node node_;
  std::unique_ptr<block::Edge> edge_;
};

TEST_F(MappedDiskTest, NeighboursInTheFileAreOneRun) {
  const MappedDisk mapped = disk({5, 6, 8, 0, 0, 9}, 6 * kBlock);
  const auto first = run(mapped.find({512, 6 * kBlock - 512}));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->kind, BlockKind::kData);
  EXPECT_EQ(first->offset, 5 * kBlock + 512);
  EXPECT_EQ(first->length, 2 * kBlock - 512);
  const auto hole = run(mapped.find({3 * kBlock, 3 * kBlock}));
  ASSERT_TRUE(hole);
  EXPECT_EQ(hole->kind, BlockKind::kUnallocated);
  EXPECT_EQ(hole->length, 2 * kBlock);
}

TEST_F(MappedDiskTest, ALookupInMemoryNeedsNoRead) {
  const MappedDisk mapped = disk({5, 6}, 2 * kBlock);
  EXPECT_FALSE(mapped.try_find({0, kBlock}));
  ASSERT_TRUE(run(mapped.find({0, kBlock})));
  const std::optional<DiskRun> found = mapped.try_find({kBlock, kBlock});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->offset, 6 * kBlock);
}

TEST_F(MappedDiskTest, BlocksWithoutAnEntryAreUnallocated) {
  const MappedDisk mapped = disk({5}, 3 * kBlock);
  const auto found = run(mapped.find({kBlock, 2 * kBlock}));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->kind, BlockKind::kUnallocated);
  EXPECT_EQ(found->length, 2 * kBlock);
}

TEST_F(MappedDiskTest, ExtentsFollowEachOther) {
  const MappedDisk mapped(
      {{.range = {0, kBlock}, .file = edge_.get(), .flat_offset = 4096}, {.range = {kBlock, kBlock}}});
  EXPECT_EQ(mapped.size_bytes(), 2 * kBlock);
  const auto flat = run(mapped.find({512, 2 * kBlock - 512}));
  ASSERT_TRUE(flat);
  EXPECT_EQ(flat->offset, 4096u + 512);
  EXPECT_EQ(flat->length, kBlock - 512);
  const auto zero = run(mapped.find({kBlock, 512}));
  ASSERT_TRUE(zero);
  EXPECT_EQ(zero->kind, BlockKind::kZero);
}

TEST_F(MappedDiskTest, AFailedReadOfATableIsTheErrorOfTheLookup) {
  const MappedDisk mapped = disk({5}, kBlock);
  state_.error = EIO;
  const auto found = run(mapped.find({0, 512}));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error(), Errno(EIO));
}

TEST(PieceCacheTest, AFullShardGivesUpTheOldestPiece) {
  PieceCache cache(16 * 100);
  const auto piece = [] { return std::make_shared<const std::vector<std::byte>>(60); };
  cache.insert(0, piece());
  cache.insert(16, piece());
  EXPECT_EQ(cache.find(0), nullptr);
  EXPECT_NE(cache.find(16), nullptr);
}

}  // namespace
}  // namespace blockexport::drivers::foreign
