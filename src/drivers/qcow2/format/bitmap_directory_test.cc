#include "drivers/qcow2/format/bitmap_directory.h"

#include <gtest/gtest.h>

#include <random>

namespace blockexport::drivers::qcow2 {
namespace {

const Header kHeader{.cluster_bits = 16, .size_bytes = 1u << 30};

std::vector<StoredBitmap> two_bitmaps() {
  return {{.table_offset = 65536, .table_entries = 1, .flags = kBitmapAuto, .granularity_bits = 16, .name = "first"},
          {.table_offset = 131072, .table_entries = 2, .flags = kBitmapInUse, .granularity_bits = 9, .name = "second"}};
}

std::string refusal(std::vector<StoredBitmap> bitmaps, std::uint32_t count) {
  const auto parsed = parse_bitmap_directory(kHeader, {.bitmaps = count}, encode_bitmap_directory(bitmaps));
  return parsed ? "" : parsed.error().message();
}

TEST(Qcow2BitmapDirectoryTest, ADirectoryIsReadAsItWasWritten) {
  const auto parsed = parse_bitmap_directory(kHeader, {.bitmaps = 2}, encode_bitmap_directory(two_bitmaps()));
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(*parsed, two_bitmaps());
}

TEST(Qcow2BitmapDirectoryTest, EveryRefusalHasTheTextOfTheReference) {
  EXPECT_EQ(refusal({}, 1), "Requested bitmap directory size is zero");
  EXPECT_EQ(refusal(two_bitmaps(), 1), "More bitmaps found than specified in header extension");
  EXPECT_EQ(refusal(two_bitmaps(), 3), "Less bitmaps found than specified in header extension");
  std::vector<std::byte> bytes = encode_bitmap_directory(two_bitmaps());
  bytes.resize(bytes.size() - 8);
  EXPECT_EQ(parse_bitmap_directory(kHeader, {.bitmaps = 2}, bytes).error().message(), "Broken bitmap directory");
  bytes = encode_bitmap_directory(two_bitmaps());
  bytes[23] = std::byte{1};
  EXPECT_EQ(parse_bitmap_directory(kHeader, {.bitmaps = 2}, bytes).error().message(),
            "Bitmap extra data is not supported");
}

TEST(Qcow2BitmapDirectoryTest, AnEntryThatBreaksAConstraintIsNamed) {
  const std::string text = "Bitmap 'first' doesn't satisfy the constraints";
  const auto with = [](auto change) {
    std::vector<StoredBitmap> bitmaps = two_bitmaps();
    change(bitmaps[0]);
    return refusal(bitmaps, 2);
  };
  EXPECT_EQ(with([](StoredBitmap& bitmap) { bitmap.table_offset = 0; }), text);
  EXPECT_EQ(with([](StoredBitmap& bitmap) { bitmap.table_offset = 512; }), text);
  EXPECT_EQ(with([](StoredBitmap& bitmap) { bitmap.table_entries = 0; }), text);
  EXPECT_EQ(with([](StoredBitmap& bitmap) { bitmap.table_entries = 8193; }), text);
  EXPECT_EQ(with([](StoredBitmap& bitmap) { bitmap.flags = 4; }), text);
  EXPECT_EQ(with([](StoredBitmap& bitmap) { bitmap.granularity_bits = 8; }), text);
  EXPECT_EQ(with([](StoredBitmap& bitmap) { bitmap.granularity_bits = 32; }), text);
  EXPECT_EQ(with([](StoredBitmap& bitmap) { bitmap.granularity_bits = 10; }), text);  // too small for the disk
  EXPECT_EQ(with([](StoredBitmap& bitmap) { bitmap.granularity_bits = 11; }), "");
}

TEST(Qcow2BitmapDirectoryTest, EntriesOfABitmapTableAreChecked) {
  const Geometry geometry = kHeader.geometry();
  EXPECT_TRUE(is_valid_bitmap_entry(geometry, 0));
  EXPECT_TRUE(is_valid_bitmap_entry(geometry, 1));
  EXPECT_TRUE(is_valid_bitmap_entry(geometry, 65536));
  EXPECT_FALSE(is_valid_bitmap_entry(geometry, 65537));
  EXPECT_FALSE(is_valid_bitmap_entry(geometry, 512));
  EXPECT_FALSE(is_valid_bitmap_entry(geometry, std::uint64_t{1} << 56));
}

TEST(Qcow2BitmapDirectoryTest, NoBytesBreakTheParser) {
  std::mt19937 random(4);
  const std::vector<std::byte> sound = encode_bitmap_directory(two_bitmaps());
  for (int round = 0; round < 20000; round++) {
    std::vector<std::byte> bytes = sound;
    for (unsigned flips = random() % 4; flips > 0; flips--)
      bytes[random() % bytes.size()] ^= std::byte(1 << random() % 8);
    bytes.resize(random() % 4 == 0 ? random() % bytes.size() : bytes.size());
    const auto parsed = parse_bitmap_directory(kHeader, {.bitmaps = 2}, bytes);
    if (parsed) ASSERT_EQ(encode_bitmap_directory(*parsed).size(), bytes.size());
  }
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
