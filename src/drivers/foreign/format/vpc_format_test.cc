#include "drivers/foreign/format/vpc_format.h"

#include <gtest/gtest.h>

#include "drivers/foreign/testing/sample_images.h"

namespace blockexport::drivers::foreign {
namespace {

Result<VpcFooter> footer_of(ImageBytes image, VpcPlace place = VpcPlace::kBegin) {
  set_vpc_checksum(image, 0);
  return parse_vpc_footer(image.span().first(kVpcFooterBytes), place);
}

std::string refusal(ImageBytes image, VpcPlace place = VpcPlace::kBegin) {
  const Result<VpcFooter> footer = footer_of(std::move(image), place);
  return footer ? "" : footer.error().message();
}

std::string dynamic_refusal(const ImageBytes& image, const VpcFooter& footer) {
  const Result<BlockTable> table = parse_vpc_dynamic_header(footer, image.span().subspan(512, 1024));
  return table ? "" : table.error().message();
}

TEST(VpcFormatTest, AValidFooterIsRead) {
  const Result<VpcFooter> footer = footer_of(sample_vpc());
  ASSERT_TRUE(footer) << footer.error().message();
  EXPECT_EQ(footer->disk_bytes, kSampleVpcDiskBytes);
  EXPECT_EQ(footer->dynamic_header_offset, 512u);
  EXPECT_TRUE(footer->is_dynamic);
  EXPECT_FALSE(footer->is_flat);
  const Result<BlockTable> table = parse_vpc_dynamic_header(*footer, sample_vpc().span().subspan(512, 1024));
  ASSERT_TRUE(table) << table.error().message();
  EXPECT_EQ(table->block_count, 3u);
  EXPECT_EQ(table->data_offset, 512u);
}

TEST(VpcFormatTest, TheCreatorDecidesWhetherTheGeometryIsTheSize) {
  const auto size = [](std::string_view creator) {
    return footer_of(sample_vpc().text(28, creator).be16(56, 10).u8(58, 4).u8(59, 17))->disk_bytes;
  };
  EXPECT_EQ(size("vpc "), 680u * 512);
  EXPECT_EQ(size("qemu"), 680u * 512);
  EXPECT_EQ(size("qem2"), kSampleVpcDiskBytes);
  EXPECT_EQ(size("win "), kSampleVpcDiskBytes);
  EXPECT_EQ(size("abcd"), kSampleVpcDiskBytes);
}

TEST(VpcFormatTest, TheLargestGeometryIsNoSize) {
  EXPECT_EQ(footer_of(sample_vpc().text(28, "vpc ").be16(56, 65535).u8(58, 16).u8(59, 255))->disk_bytes,
            kSampleVpcDiskBytes);
}

TEST(VpcFormatTest, WrongFootersAreRefused) {
  EXPECT_EQ(refusal(sample_vpc().text(0, "x")), "invalid VPC image");
  EXPECT_EQ(refusal(sample_vpc(), VpcPlace::kEnd), "invalid VPC image");
  EXPECT_EQ(parse_vpc_footer(sample_vpc().be32(64, 1).span().first(512), VpcPlace::kBegin).error().message(),
            "Incorrect header checksum");
  EXPECT_EQ(refusal(sample_vpc().be64(48, kVpcDiskBytesMax + 512)), "File too large");
  EXPECT_EQ(refusal(sample_vpc().be64(48, UINT64_MAX)), "File too large");
  EXPECT_EQ(refusal(sample_vpc().be64(16, UINT64_MAX)), "Error reading dynamic VHD header");
  EXPECT_NE(refusal(sample_vpc().be32(60, 4)).find("differencing"), std::string::npos);
}

TEST(VpcFormatTest, WrongDynamicHeadersAreRefused) {
  const VpcFooter footer = *footer_of(sample_vpc());
  EXPECT_EQ(dynamic_refusal(sample_vpc().text(512, "x"), footer), "Invalid header magic");
  EXPECT_EQ(dynamic_refusal(sample_vpc().be32(512 + 32, 1000), footer), "Invalid block size 1000");
  EXPECT_EQ(dynamic_refusal(sample_vpc().be32(512 + 32, 256), footer), "Invalid block size 256");
  EXPECT_EQ(dynamic_refusal(sample_vpc().be32(512 + 32, 0), footer), "Invalid block size 0");
  EXPECT_EQ(dynamic_refusal(sample_vpc().be32(512 + 28, 1), footer), "Page table too small");
  EXPECT_EQ(dynamic_refusal(sample_vpc().be32(512 + 28, UINT32_MAX), footer), "Max Table Entries too large (-1)");
  EXPECT_EQ(dynamic_refusal(sample_vpc().be64(512 + 16, UINT64_MAX), footer), "Error reading pagetable");
  EXPECT_EQ(dynamic_refusal(sample_vpc().be32(512 + 32, 512).be32(512 + 28, (kVpcTableBytesMax >> 2) + 1), footer),
            "The block allocation table has more than 67108864 bytes");
}

TEST(VpcFormatTest, TheEndOfTheBlocksFollowsFromTheTable) {
  const BlockTable table{.form = EntryForm::kVpc, .block_bytes = 4096, .data_offset = 512};
  const ImageBytes part = ImageBytes().be32(0, 10).be32(4, 0xffffffff).be32(8, 3);
  EXPECT_EQ(end_of_vpc_blocks(table, part.span(), 100), 10u * 512 + 512 + 4096);
  EXPECT_EQ(end_of_vpc_blocks(table, part.span(), 1u << 20), 1u << 20);
}

}  // namespace
}  // namespace blockexport::drivers::foreign
