#include "drivers/foreign/format/vdi_format.h"

#include <gtest/gtest.h>

#include "drivers/foreign/testing/sample_images.h"

namespace blockexport::drivers::foreign {
namespace {

std::string refusal(const ImageBytes& image) {
  const Result<VdiHeader> header = parse_vdi_header(image.span().first(kVdiHeaderBytes));
  return header ? "" : header.error().message();
}

TEST(VdiFormatTest, AValidHeaderIsRead) {
  const ImageBytes image = sample_vdi();
  EXPECT_TRUE(is_vdi(image.span()));
  const Result<VdiHeader> header = parse_vdi_header(image.span().first(kVdiHeaderBytes));
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_EQ(header->disk_bytes, kSampleVdiDiskBytes);
  EXPECT_FALSE(header->is_static);
  const BlockTable table = header->table();
  EXPECT_EQ(table.block_count, 3u);
  EXPECT_EQ(table.table_offset, 512u);
  EXPECT_EQ(table.data_offset, 1024u);
}

TEST(VdiFormatTest, AnOddSizeIsRoundedUpToSectors) {
  EXPECT_EQ(parse_vdi_header(sample_vdi().le64(0x170, 1000).span())->disk_bytes, 1024u);
}

TEST(VdiFormatTest, WrongFieldsAreRefused) {
  EXPECT_EQ(refusal(sample_vdi().le32(0x40, 1)), "Image not in VDI format (bad signature 00000001)");
  EXPECT_EQ(refusal(sample_vdi().le32(0x44, 0x20003)), "unsupported VDI image (version 2.3)");
  EXPECT_EQ(refusal(sample_vdi().le32(0x154, 513)), "unsupported VDI image (unaligned block map offset 0x201)");
  EXPECT_EQ(refusal(sample_vdi().le32(0x158, 513)), "unsupported VDI image (unaligned data offset 0x201)");
  EXPECT_EQ(refusal(sample_vdi().le32(0x168, 4096)), "unsupported VDI image (sector size 4096 is not 512)");
  EXPECT_EQ(refusal(sample_vdi().le32(0x178, 2 << 20)), "unsupported VDI image (block size 2097152 is not 1048576)");
  EXPECT_EQ(refusal(sample_vdi().le64(0x170, std::uint64_t{1} << 40)),
            "unsupported VDI image (disk size 1099511627776, image bitmap has room for 3145728)");
  EXPECT_EQ(refusal(sample_vdi().le64(0x170, std::uint64_t{1} << 60)),
            "Unsupported VDI image size (size is 0x1000000000000000, max supported is 0x1fffff8000000)");
  EXPECT_EQ(refusal(sample_vdi().le64(0x170, UINT64_MAX)),
            "Unsupported VDI image size (size is 0xffffffffffffffff, max supported is 0x1fffff8000000)");
  EXPECT_EQ(refusal(sample_vdi().le32(0x180, 0x20000000)),
            "unsupported VDI image (too many blocks 536870912, max is 536870784)");
  EXPECT_EQ(refusal(sample_vdi().u8(0x1a8, 1)), "unsupported VDI image (non-NULL link UUID)");
  EXPECT_EQ(refusal(sample_vdi().u8(0x1c7, 1)), "unsupported VDI image (non-NULL parent UUID)");
}

}  // namespace
}  // namespace blockexport::drivers::foreign
