#include "drivers/foreign/format/vhdx_format.h"

#include <gtest/gtest.h>

#include "drivers/foreign/testing/sample_images.h"

namespace blockexport::drivers::foreign {
namespace {

constexpr std::size_t kFirst = 64u << 10;
constexpr std::size_t kSecond = 128u << 10;
constexpr std::size_t kRegions = 192u << 10;
constexpr std::size_t kMetadata = 3u << 20;

std::optional<VhdxHeader> header_of(const ImageBytes& image) {
  return choose_vhdx_header(image.span().subspan(kFirst, 4096), image.span().subspan(kSecond, 4096));
}

ImageBytes with_checksums(ImageBytes image) {
  set_vhdx_checksum(image, kFirst, 4096);
  set_vhdx_checksum(image, kSecond, 4096);
  set_vhdx_checksum(image, kRegions, 64u << 10);
  return image;
}

std::expected<VhdxRegions, Errno> regions_of(ImageBytes image) {
  image = with_checksums(std::move(image));
  return parse_vhdx_regions(*header_of(image), image.span().subspan(kRegions, kVhdxTableBytes));
}

std::expected<VhdxItems, Errno> items_of(const ImageBytes& image) {
  return parse_vhdx_items(image.span().subspan(kMetadata, kVhdxTableBytes));
}

std::expected<VhdxDisk, Errno> disk_of(std::uint32_t block_bytes, std::uint32_t flags, std::uint64_t disk_bytes,
                                       std::uint32_t sector_bytes) {
  return parse_vhdx_disk(ImageBytes().le32(0, block_bytes).le32(4, flags).span(),
                         ImageBytes().le64(0, disk_bytes).span(), ImageBytes(8).le32(0, sector_bytes).span());
}

TEST(VhdxFormatTest, TheValidHeaderWithTheLargerSequenceCounts) {
  EXPECT_EQ(header_of(sample_vhdx())->sequence, kSecond);
  EXPECT_EQ(header_of(sample_vhdx().u8(kSecond + 100, 1))->sequence, kFirst);
  EXPECT_FALSE(header_of(sample_vhdx().u8(kSecond + 100, 1).u8(kFirst + 100, 1)));
  EXPECT_FALSE(header_of(with_checksums(sample_vhdx().le64(kFirst + 8, 7).le64(kSecond + 8, 7).u8(kFirst + 20, 1))));
  EXPECT_TRUE(header_of(with_checksums(sample_vhdx().le64(kFirst + 8, 7).le64(kSecond + 8, 7))));
}

TEST(VhdxFormatTest, AWrongLogIsRefused) {
  VhdxHeader header{.log_bytes = 1u << 20, .log_offset = 1u << 20};
  header.log_guid[0] = std::byte{1};
  EXPECT_TRUE(check_vhdx_log(header));
  header.log_offset = 5;
  EXPECT_EQ(check_vhdx_log(header), fail(EINVAL));
  header.log_offset = std::uint64_t{1} << 63;
  EXPECT_EQ(check_vhdx_log(header), fail(EINVAL));
  header.log_offset = 1u << 20;
  header.log_bytes = 5;
  EXPECT_EQ(check_vhdx_log(header), fail(EINVAL));
  header.log_version = 1;
  EXPECT_EQ(check_vhdx_log(header), fail(EINVAL));
}

ImageBytes log_with_entry(std::uint32_t bytes, std::size_t at) {
  ImageBytes entry(bytes);
  entry.text(0, "loge").le32(8, bytes).le64(16, 1).u8(32, 1);
  set_vhdx_checksum(entry, 0, bytes);
  ImageBytes log(1u << 20);
  const std::size_t behind = std::min<std::size_t>(bytes, log.size() - at);
  log.copy(at, entry.span().first(behind)).copy(0, entry.span().subspan(behind));
  return log;
}

TEST(VhdxFormatTest, AnEntryOfTheLogIsFound) {
  VhdxHeader header;
  header.log_guid[0] = std::byte{1};
  EXPECT_FALSE(has_vhdx_log_entry(header, ImageBytes(1u << 20).span()));
  EXPECT_TRUE(has_vhdx_log_entry(header, log_with_entry(4096, 0).span()));
  EXPECT_TRUE(has_vhdx_log_entry(header, log_with_entry(8192, (1u << 20) - 4096).span()));
  EXPECT_FALSE(has_vhdx_log_entry(header, log_with_entry(4096, 0).u8(100, 1).span()));
  header.log_guid[0] = std::byte{2};
  EXPECT_FALSE(has_vhdx_log_entry(header, log_with_entry(4096, 0).span()));
}

TEST(VhdxFormatTest, RegionsAreFound) {
  const auto regions = regions_of(sample_vhdx());
  ASSERT_TRUE(regions);
  EXPECT_EQ(regions->table, (block::Range{2u << 20, 1u << 20}));
  EXPECT_EQ(regions->metadata, (block::Range{3u << 20, 1u << 20}));
}

TEST(VhdxFormatTest, WrongRegionsAreRefused) {
  EXPECT_EQ(regions_of(sample_vhdx().text(kRegions, "x")).error(), Errno(EINVAL));
  EXPECT_EQ(regions_of(sample_vhdx().le32(kRegions + 8, 2048)).error(), Errno(EINVAL));
  EXPECT_EQ(regions_of(sample_vhdx().le32(kRegions + 8, 1)).error(), Errno(EINVAL));
  EXPECT_EQ(regions_of(sample_vhdx().le64(kRegions + 32, 3u << 20)).error(), Errno(EINVAL));
  EXPECT_EQ(regions_of(sample_vhdx().le64(kRegions + 32, 5)).error(), Errno(EINVAL));
  EXPECT_EQ(regions_of(sample_vhdx().le64(kRegions + 32, UINT64_MAX)).error(), Errno(EIO));
  EXPECT_EQ(regions_of(sample_vhdx().le32(kRegions + 8, 3).u8(kRegions + 80, 1).le32(kRegions + 108, 1)).error(),
            Errno(ENOTSUP));
}

TEST(VhdxFormatTest, ItemsOfMetadataAreFound) {
  const auto items = items_of(sample_vhdx());
  ASSERT_TRUE(items);
  EXPECT_EQ(items->disk_size.offset, (64u << 10) + 16);
  EXPECT_EQ(items_of(sample_vhdx().text(kMetadata, "x")).error(), Errno(EINVAL));
  EXPECT_EQ(items_of(sample_vhdx().le16(kMetadata + 10, 2048)).error(), Errno(EINVAL));
  EXPECT_EQ(items_of(sample_vhdx().le16(kMetadata + 10, 4)).error(), Errno(ENOTSUP));
  EXPECT_EQ(items_of(sample_vhdx().u8(kMetadata + 32, 1)).error(), Errno(ENOTSUP));
}

TEST(VhdxFormatTest, WrongSizesAreRefused) {
  EXPECT_EQ(disk_of(1u << 20, 0, 1000, 512)->disk_bytes, 512u);
  EXPECT_EQ(disk_of(1u << 19, 0, 1u << 20, 512).error(), Errno(EINVAL));
  EXPECT_EQ(disk_of(3u << 20, 0, 1u << 20, 512).error(), Errno(EINVAL));
  EXPECT_EQ(disk_of(1u << 29, 0, 1u << 20, 512).error(), Errno(EINVAL));
  EXPECT_EQ(disk_of(1u << 20, 2, 1u << 20, 512).error(), Errno(EINVAL));
  EXPECT_EQ(disk_of(1u << 20, 0, 0, 512).error(), Errno(EINVAL));
  EXPECT_EQ(disk_of(1u << 20, 0, UINT64_MAX, 512).error(), Errno(EINVAL));
  EXPECT_EQ(disk_of(1u << 20, 0, 1u << 20, 4096).error(), Errno(ENOTSUP));
}

TEST(VhdxFormatTest, ABlockLiesInTheFileAndInNoRegion) {
  const VhdxRegions regions{.table = {}, .metadata = {}, .all = {{0, 1u << 20}}};
  constexpr std::uint64_t kMiB = 1u << 20;
  EXPECT_TRUE(is_vhdx_block_valid(regions, kMiB, kMiB, kMiB, 2 * kMiB));
  EXPECT_TRUE(is_vhdx_block_valid(regions, kMiB, kMiB, 512, kMiB + 512));
  EXPECT_FALSE(is_vhdx_block_valid(regions, kMiB, kMiB, kMiB, kMiB + 512));
  EXPECT_FALSE(is_vhdx_block_valid(regions, 0, kMiB, kMiB, 2 * kMiB));
  EXPECT_FALSE(is_vhdx_block_valid(regions, UINT64_MAX - kMiB + 1, kMiB, kMiB, 2 * kMiB));
}

}  // namespace
}  // namespace blockexport::drivers::foreign
