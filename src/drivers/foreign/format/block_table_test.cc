#include "drivers/foreign/format/block_table.h"

#include <gtest/gtest.h>

#include "drivers/foreign/testing/image_bytes.h"

namespace blockexport::drivers::foreign {
namespace {

TEST(BlockTableTest, TheEntryOfABlockIsInAPieceOfTheTable) {
  const BlockTable table{.form = EntryForm::kVdi, .block_bytes = 1u << 20, .block_count = 10'000, .table_offset = 512};
  const std::optional<TablePiece> first = piece_of(table, 0);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->offset, 512u);
  EXPECT_EQ(first->bytes, BlockTable::kPieceBytes);
  const std::optional<TablePiece> last = piece_of(table, 9'999);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->number, 9'999u * 4 / BlockTable::kPieceBytes);
  EXPECT_EQ(last->offset + last->entry_offset, 512u + 9'999 * 4);
  EXPECT_EQ(last->offset + last->bytes, 512u + 10'000 * 4);
}

TEST(BlockTableTest, EntriesOfNoBlockAreLeftOut) {
  const BlockTable table{.form = EntryForm::kVhdx, .block_bytes = 1u << 20, .block_count = 9, .blocks_per_chunk = 4};
  EXPECT_EQ(table.entry_count(), 11u);
  EXPECT_EQ(piece_of(table, 3)->entry_offset, 3u * 8);
  EXPECT_EQ(piece_of(table, 4)->entry_offset, 5u * 8);
  EXPECT_EQ(piece_of(table, 8)->entry_offset, 10u * 8);
}

TEST(BlockTableTest, AGrainTableIsAPiece) {
  const BlockTable table{.form = EntryForm::kVmdk,
                         .block_bytes = 65536,
                         .block_count = 1024,
                         .grain_tables = {0, 4096},
                         .entries_per_grain_table = 512};
  EXPECT_FALSE(piece_of(table, 511));
  const std::optional<TablePiece> piece = piece_of(table, 513);
  ASSERT_TRUE(piece);
  EXPECT_EQ(piece->number, 1u);
  EXPECT_EQ(piece->offset, 4096u);
  EXPECT_EQ(piece->bytes, 2048u);
  EXPECT_EQ(piece->entry_offset, 4u);
}

TEST(BlockTableTest, EntriesOfVdiAreIndexes) {
  const BlockTable table{.form = EntryForm::kVdi, .unit_bytes = 1u << 20, .data_offset = 1024};
  const ImageBytes piece = ImageBytes().le32(0, 0xfffffffd).le32(4, 0xfffffffe).le32(8, 0xffffffff);
  EXPECT_EQ(decode_entry(table, piece.span(), 0),
            (BlockPlace{BlockKind::kData, (std::uint64_t{0xfffffffd} << 20) + 1024}));
  EXPECT_EQ(decode_entry(table, piece.span(), 4).kind, BlockKind::kZero);
  EXPECT_EQ(decode_entry(table, piece.span(), 8).kind, BlockKind::kZero);
}

TEST(BlockTableTest, EntriesOfVpcAreBigEndianSectors) {
  const BlockTable table{.form = EntryForm::kVpc, .unit_bytes = 512, .data_offset = 512};
  const ImageBytes piece = ImageBytes().be32(0, 5).be32(4, 0xffffffff);
  EXPECT_EQ(decode_entry(table, piece.span(), 0), (BlockPlace{BlockKind::kData, 6 * 512}));
  EXPECT_EQ(decode_entry(table, piece.span(), 4).kind, BlockKind::kZero);
}

TEST(BlockTableTest, EntriesOfVmdkMayStandForZerosAndCompressedGrains) {
  BlockTable table{.form = EntryForm::kVmdk, .unit_bytes = 512};
  const ImageBytes piece = ImageBytes().le32(0, 0).le32(4, 1).le32(8, 128);
  EXPECT_EQ(decode_entry(table, piece.span(), 0).kind, BlockKind::kUnallocated);
  EXPECT_EQ(decode_entry(table, piece.span(), 4), (BlockPlace{BlockKind::kData, 512}));
  table.has_zero_entries = true;
  EXPECT_EQ(decode_entry(table, piece.span(), 4).kind, BlockKind::kZero);
  table.is_compressed = true;
  EXPECT_EQ(decode_entry(table, piece.span(), 8), (BlockPlace{BlockKind::kCompressed, 65536}));
}

TEST(BlockTableTest, EntriesOfVhdxHaveAState) {
  const BlockTable table{.form = EntryForm::kVhdx};
  const auto kind = [&](std::uint64_t entry) {
    return decode_entry(table, ImageBytes().le64(0, entry).span(), 0).kind;
  };
  EXPECT_EQ(kind(0), BlockKind::kZero);
  EXPECT_EQ(kind(3), BlockKind::kZero);
  EXPECT_EQ(kind(4), BlockKind::kInvalid);
  EXPECT_EQ(kind(5), BlockKind::kZero);
  EXPECT_EQ(kind(7), BlockKind::kInvalid);
  EXPECT_EQ(decode_entry(table, ImageBytes().le64(0, (3u << 20) | 0x18 | 6).span(), 0),
            (BlockPlace{BlockKind::kData, 3u << 20}));
}

TEST(BlockTableTest, EntriesOfParallelsAreUnits) {
  const BlockTable table{.form = EntryForm::kParallels, .unit_bytes = 1u << 20};
  const ImageBytes piece = ImageBytes().le32(0, 0).le32(4, 7);
  EXPECT_EQ(decode_entry(table, piece.span(), 0).kind, BlockKind::kUnallocated);
  EXPECT_EQ(decode_entry(table, piece.span(), 4), (BlockPlace{BlockKind::kData, 7u << 20}));
}

}  // namespace
}  // namespace blockexport::drivers::foreign
