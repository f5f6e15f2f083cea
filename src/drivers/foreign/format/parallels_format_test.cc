#include "drivers/foreign/format/parallels_format.h"

#include <gtest/gtest.h>

#include "drivers/foreign/testing/sample_images.h"

namespace blockexport::drivers::foreign {
namespace {

std::string refusal(const ImageBytes& image) {
  const Result<ParallelsHeader> header = parse_parallels_header(image.span().first(kParallelsHeaderBytes));
  return header ? "" : header.error().message();
}

TEST(ParallelsFormatTest, EntriesOfTheNewerVersionCountClusters) {
  const Result<ParallelsHeader> header = parse_parallels_header(sample_parallels().span());
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_EQ(header->disk_bytes, kSampleParallelsDiskBytes);
  EXPECT_EQ(header->cluster_bytes, 65536u);
  EXPECT_EQ(header->unit_bytes, 65536u);
  EXPECT_EQ(header->table().block_count, 3u);
  EXPECT_EQ(header->table().table_offset, 64u);
}

TEST(ParallelsFormatTest, EntriesOfTheOlderVersionCountSectors) {
  const Result<ParallelsHeader> header = parse_parallels_header(
      sample_parallels().text(0, "WithoutFreeSpace").le64(36, (std::uint64_t{1} << 32) + 300).span());
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_EQ(header->unit_bytes, 512u);
  EXPECT_EQ(header->disk_bytes, 300u * 512);
}

TEST(ParallelsFormatTest, WrongFieldsAreRefused) {
  EXPECT_EQ(refusal(sample_parallels().text(0, "x")), "Image not in Parallels format");
  EXPECT_EQ(refusal(sample_parallels().le32(16, 3)), "Image not in Parallels format");
  EXPECT_EQ(refusal(sample_parallels().le32(28, 0)), "Invalid image: Zero sectors per track");
  EXPECT_EQ(refusal(sample_parallels().le32(28, 0x400000)), "Invalid image: Too big cluster");
  EXPECT_EQ(refusal(sample_parallels().le32(32, UINT32_MAX)), "Catalog too large");
  EXPECT_EQ(refusal(sample_parallels().le32(32, 2)), "Invalid image: Catalog size too small for advertised disk size");
  EXPECT_EQ(refusal(sample_parallels().le64(36, UINT64_MAX)),
            "Invalid image: Catalog size too small for advertised disk size");
  EXPECT_EQ(refusal(sample_parallels().le64(56, UINT64_MAX)), "Invalid image: Too big offset");
}

TEST(ParallelsFormatTest, AnExtensionHasAMagic) {
  EXPECT_TRUE(check_parallels_extension(ImageBytes().le64(0, 0xab234cef23dcea87).span()));
  EXPECT_EQ(check_parallels_extension(ImageBytes(8).span()).error().message(),
            "Wrong parallels Format Extension magic: 0x0, expected: 0xab234cef23dcea87");
}

}  // namespace
}  // namespace blockexport::drivers::foreign
