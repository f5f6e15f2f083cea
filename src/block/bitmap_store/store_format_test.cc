#include "block/bitmap_store/store_format.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/byte_writer.h"
#include "block/bitmap_store/crc32c.h"
#include "block/bitmap_store/region_bits.h"

namespace blockexport::block {
namespace {

constexpr std::uint64_t kImageBytes = 1u << 30;
constexpr std::uint32_t kGranularity = 64u << 10;

TEST(Crc32cTest, HasTheSumsOfTheStandard) {
  // RFC 3720, B.4, and the check value of the CRC catalogue.
  EXPECT_EQ(crc32c(std::as_bytes(std::span("123456789", 9))), 0xe3069283u);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32)), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0xff})), 0x62a8ab43u);
  EXPECT_EQ(crc32c({}), 0u);
}

StoreSuperblock superblock() {
  return {.sequence = 7, .catalog = {.offset = 8192, .bytes = 100}, .catalog_sum = 5, .generation = "g1"};
}

StoreCatalog catalog() {
  StoreCatalog result{.image_bytes = kImageBytes,
                      .image_bytes_min = kImageBytes / 2,
                      .image_bytes_max = 2 * kImageBytes,
                      .region_bytes = kRegionBytesDefault,
                      .next_area_id = 9};
  result.identity = "uuid";
  result.intents = {.offset = kStoreHeadBytes, .sectors = kIntentSectors, .id = 1};
  std::uint64_t offset = result.intents.extent().end();
  for (std::uint32_t id : {2u, 3u}) {
    StoredBitmap& bitmap = result.bitmaps.emplace_back();
    bitmap.name = "bitmap" + std::to_string(id);
    bitmap.granularity_bytes = kGranularity;
    bitmap.is_enabled = id == 2;
    bitmap.area = {.offset = offset, .sectors = *sectors_for(kImageBytes, kGranularity), .id = id};
    offset = find_space(extents_of(result, {}), 1);
  }
  return result;
}

StoreExtent place_of(const StoreCatalog& of, std::size_t bytes) {
  return {.offset = find_space(extents_of(of, {}), bytes), .bytes = bytes};
}

std::string reason_of(const StoreCatalog& of) {
  const std::vector<std::byte> bytes = encode(of);
  const StoreExtent at = place_of(of, bytes.size());
  auto decoded = decode_catalog(bytes, at, at.end());
  return decoded ? "" : std::string(decoded.error());
}

TEST(StoreFormatTest, ASuperblockIsReadAsItWasWritten) {
  auto decoded = decode_superblock(encode(superblock()));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, superblock());
  EXPECT_EQ(check_supported(*decoded), "");
}

TEST(StoreFormatTest, EachDamagedByteOfASuperblockIsDetected) {
  const StoreSector intact = encode(superblock());
  for (std::size_t at = 0; at < intact.size(); at++) {
    StoreSector damaged = intact;
    damaged[at] ^= std::byte{1};
    auto decoded = decode_superblock(damaged);
    ASSERT_FALSE(decoded) << at;
    EXPECT_EQ(decoded.error(), at < 8 ? SuperblockFault::kForeign : SuperblockFault::kDamaged) << at;
  }
  EXPECT_EQ(decode_superblock(StoreSector{}).error(), SuperblockFault::kEmpty);
}

TEST(StoreFormatTest, ALaterVersionAndUnknownFeaturesAreRefusedByName) {
  StoreSuperblock later = superblock();
  later.version = 2;
  auto decoded = decode_superblock(encode(later));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(check_supported(*decoded), "its version is 2, and this program supports version 1");
  StoreSuperblock other = superblock();
  other.incompatible_features = 0x10;
  EXPECT_EQ(check_supported(*decode_superblock(encode(other))),
            "it uses features that this program does not support (bits 0x10)");
}

TEST(StoreFormatTest, ACatalogIsReadAsItWasWritten) {
  const std::vector<std::byte> bytes = encode(catalog());
  const StoreExtent at = place_of(catalog(), bytes.size());
  auto decoded = decode_catalog(bytes, at, at.end());
  ASSERT_TRUE(decoded) << decoded.error();
  EXPECT_EQ(*decoded, catalog());
  EXPECT_EQ(decode_catalog(bytes, at, at.end() - 1).error(), "it is truncated");
}

TEST(StoreFormatTest, ACatalogOfAnotherLengthIsRefused) {
  const std::vector<std::byte> bytes = encode(catalog());
  const StoreExtent at = place_of(catalog(), bytes.size());
  for (std::size_t length = 0; length < bytes.size(); length++) {
    EXPECT_FALSE(decode_catalog(std::span(bytes).first(length), at, at.end())) << length;
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_EQ(decode_catalog(longer, at, at.end() + 1).error(), "its catalog is too long");
}

TEST(StoreFormatTest, InvalidValuesOfACatalogAreRefused) {
  EXPECT_EQ(reason_of(catalog()), "");
  StoreCatalog other = catalog();
  other.bitmaps[1].name = other.bitmaps[0].name;
  EXPECT_EQ(reason_of(other), "two bitmaps have the same name");
  other = catalog();
  other.bitmaps[1].name.clear();
  EXPECT_EQ(reason_of(other), "a bitmap has an invalid name");
  other = catalog();
  other.bitmaps[1].name.assign(1024, 'x');
  EXPECT_EQ(reason_of(other), "a bitmap has an invalid name");
  other = catalog();
  other.bitmaps[0].area.sectors++;
  EXPECT_EQ(reason_of(other), "a bitmap does not have the size of the image");
  other = catalog();
  other.bitmaps[1].area.offset = other.bitmaps[0].area.offset;
  EXPECT_EQ(reason_of(other), "two areas overlap");
  other = catalog();
  other.bitmaps[1].area.id = 1;
  EXPECT_EQ(reason_of(other), "an area has an invalid number");
  other = catalog();
  other.next_area_id = 3;
  EXPECT_EQ(reason_of(other), "an area has an invalid number");
  other = catalog();
  other.region_bytes = kRegionBytesMin / 2;
  EXPECT_EQ(reason_of(other), "its regions have an invalid size");
  other = catalog();
  other.image_bytes_max = UINT64_MAX;
  EXPECT_EQ(reason_of(other), "its image is too large");
  other = catalog();
  other.image_bytes_max = kImageBytes - 1;
  EXPECT_EQ(reason_of(other), "the sizes of its image contradict each other");
  other = catalog();
  other.image_bytes_min = kImageBytes + 1;
  EXPECT_EQ(reason_of(other), "the sizes of its image contradict each other");
}

TEST(StoreFormatTest, TooManyBitmapsAreRefusedBeforeTheyAreRead) {
  std::vector<std::byte> bytes = encode(catalog());
  const std::size_t count_offset = 4 * 8 + 4 + 2 + 4 + 16;
  ByteWriter(std::span(bytes).subspan(count_offset, 4)).u32(UINT32_MAX);
  EXPECT_EQ(decode_catalog(bytes, place_of(catalog(), bytes.size()), UINT64_MAX).error(), "it has too many bitmaps");
}

TEST(StoreFormatTest, ASectorOfAnotherPlaceOrAreaCountsAsDamaged) {
  std::array<std::uint64_t, kSectorWords> words{};
  words[3] = little_endian(0x1234);
  StoreSector sector;
  encode_sector(sector, 5, 6, words);
  std::array<std::uint64_t, kSectorWords> decoded{};
  EXPECT_TRUE(decode_sector(sector, 5, 6, decoded));
  EXPECT_EQ(decoded, words);
  EXPECT_FALSE(decode_sector(sector, 4, 6, decoded));
  EXPECT_FALSE(decode_sector(sector, 5, 7, decoded));
  sector[200] ^= std::byte{0x80};
  EXPECT_FALSE(decode_sector(sector, 5, 6, decoded));
  EXPECT_FALSE(decode_sector(StoreSector{}, 0, 0, decoded)) << "a hole of the file is no clean sector";
}

TEST(StoreFormatTest, RegionsGrowWithTheImage) {
  EXPECT_EQ(region_bytes_for(0), 1u << 20);
  EXPECT_EQ(region_bytes_for(std::uint64_t{1} << 40), 1u << 20);
  EXPECT_EQ(region_bytes_for(std::uint64_t{16} << 40), 16u << 20);
  EXPECT_LE(region_bytes_for(INT64_MAX), kRegionBytesMax);
}

TEST(StoreFormatTest, SpaceIsTheFirstGap) {
  EXPECT_EQ(find_space({}, 100), kStoreHeadBytes);
  EXPECT_EQ(find_space({{8192, 4096}}, 100), 12288u);
  EXPECT_EQ(find_space({{16384, 512}, {8192, 100}}, 4096), 12288u);
  EXPECT_EQ(find_space({{16384, 512}, {8192, 100}}, 4097), 20480u);
}

TEST(StoreFormatTest, SectorsOfOnePageAreWrittenTogether) {
  std::vector<std::uint64_t> bits(kRegions / 64);
  set_region(bits, 0);
  set_region(bits, 5 * kSectorBits);   // in the same page
  set_region(bits, 8 * kSectorBits);   // in the next page, but not next to it
  set_region(bits, 16 * kSectorBits);  // two pages on
  const std::vector<SectorRun> runs = runs_of_sectors(bits);
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].count, 6u);
  EXPECT_EQ(runs[1].first, 8u);
  EXPECT_EQ(runs[2].first, 16u);
}

}  // namespace
}  // namespace blockexport::block
