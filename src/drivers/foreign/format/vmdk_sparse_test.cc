#include "drivers/foreign/format/vmdk_sparse.h"

#include <gtest/gtest.h>

#include "drivers/foreign/testing/sample_images.h"

namespace blockexport::drivers::foreign {
namespace {

std::string refusal(const ImageBytes& image) {
  VmdkSparseHeader header = read_vmdk_header(image.span().first(kVmdkHeaderBytes));
  const Result<> checked = check_vmdk_header(header, image.size());
  return checked ? "" : checked.error().message();
}

TEST(VmdkSparseTest, AValidHeaderIsRead) {
  const ImageBytes image = sample_vmdk();
  EXPECT_EQ(vmdk_magic(image.span()), VmdkMagic::kHosted);
  VmdkSparseHeader header = read_vmdk_header(image.span().first(kVmdkHeaderBytes));
  ASSERT_TRUE(check_vmdk_header(header, image.size()));
  EXPECT_EQ(header.directory_entries, 1u);
  EXPECT_EQ(header.directory_offset, 26u * 512);
  EXPECT_FALSE(header.is_compressed);
  EXPECT_FALSE(header.has_zero_grains);
  const BlockTable table = header.table();
  EXPECT_EQ(table.block_bytes, 65536u);
  EXPECT_EQ(table.block_count, 3u);
}

TEST(VmdkSparseTest, FlagsAndCompressionAreRead) {
  const VmdkSparseHeader header =
      read_vmdk_header(sample_vmdk().le32(8, 0x20004).le16(77, 1).le64(56, UINT64_MAX).span());
  EXPECT_TRUE(header.has_zero_grains);
  EXPECT_TRUE(header.has_markers);
  EXPECT_TRUE(header.is_compressed);
  EXPECT_TRUE(header.has_footer);
}

TEST(VmdkSparseTest, WrongHeadersAreRefused) {
  EXPECT_EQ(refusal(sample_vmdk().le32(4, 4)), "Unsupported VMDK version 4");
  EXPECT_EQ(refusal(sample_vmdk().le32(44, 513)), "L2 table size too big");
  EXPECT_EQ(refusal(sample_vmdk().le32(44, 0)), "L1 entry size is invalid");
  EXPECT_EQ(refusal(sample_vmdk().le64(20, 0)), "L1 entry size is invalid");
  EXPECT_EQ(refusal(sample_vmdk().le64(20, 0x200001)), "Invalid granularity, image may be corrupt");
  EXPECT_EQ(refusal(sample_vmdk().le64(20, UINT64_MAX)), "Invalid granularity, image may be corrupt");
  EXPECT_EQ(refusal(sample_vmdk().le64(12, UINT64_MAX)), "L1 size too big");
  EXPECT_EQ(refusal(sample_vmdk().le64(64, 1u << 30)), "File truncated, expecting at least 549755813888 bytes");
  EXPECT_EQ(refusal(sample_vmdk().le64(56, std::uint64_t{1} << 60)),
            "The grain directory lies behind the end of any file");
  EXPECT_EQ(refusal(sample_vmdk().le64(20, 16384).le16(77, 1)), "The compressed grains have more than 4194304 bytes");
}

TEST(VmdkSparseTest, AFooterHasAHeader) {
  ImageBytes footer(kVmdkFooterBytes);
  footer.le64(0, 1).le32(12, 3).copy(512, sample_vmdk().span().first(512));
  const auto header = parse_vmdk_footer(footer.span());
  ASSERT_TRUE(header);
  EXPECT_EQ(header->directory_offset, 26u * 512);
  EXPECT_EQ(parse_vmdk_footer(ImageBytes(footer).le32(12, 2).span()).error().message(), "Invalid footer");
  EXPECT_EQ(parse_vmdk_footer(ImageBytes(footer).le32(1024 + 12, 1).span()).error().message(), "Invalid footer");
  EXPECT_EQ(parse_vmdk_footer(ImageBytes(footer).text(512, "x").span()).error().message(), "Invalid footer");
  EXPECT_FALSE(parse_vmdk_footer(footer.span().first(1024)));
}

TEST(VmdkSparseTest, AnExtentOfAnEsxServerIsRead) {
  const ImageBytes image =
      ImageBytes(512).text(0, "COWD").le32(4, 1).le32(12, 8192).le32(16, 1).le32(20, 4).le32(24, 2);
  EXPECT_EQ(vmdk_magic(image.span()), VmdkMagic::kEsx);
  const auto header = parse_vmfs_header(image.span());
  ASSERT_TRUE(header);
  EXPECT_EQ(header->capacity_sectors, 8192u);
  EXPECT_EQ(header->directory_offset, 2048u);
  EXPECT_EQ(header->directory_entries, 2u);
  EXPECT_FALSE(parse_vmfs_header(ImageBytes(image).le32(16, 0).span()));
  EXPECT_EQ(parse_vmfs_header(ImageBytes(image).le32(24, UINT32_MAX).span()).error().message(), "L1 size too big");
}

TEST(VmdkSparseTest, TheGrainDirectoryHasSectors) {
  EXPECT_EQ(parse_grain_directory(ImageBytes().le32(0, 3).le32(4, 0).span()), (std::vector<std::uint64_t>{3 * 512, 0}));
}

}  // namespace
}  // namespace blockexport::drivers::foreign
