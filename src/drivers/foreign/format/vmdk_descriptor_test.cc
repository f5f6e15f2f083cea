#include "drivers/foreign/format/vmdk_descriptor.h"

#include <gtest/gtest.h>

namespace blockexport::drivers::foreign {
namespace {

std::string extent_refusal(std::string_view text) {
  const auto extents = parse_vmdk_extents(text);
  return extents ? "" : extents.error().message();
}

TEST(VmdkDescriptorTest, IdsAndTheParentAreRead) {
  const auto identity =
      parse_vmdk_identity("version=1\nCID=8d6b2185\nparentCID=fffffffe\nparentFileNameHint=\"a b.vmdk\"\n");
  ASSERT_TRUE(identity);
  EXPECT_EQ(identity->content_id, 0x8d6b2185u);
  EXPECT_EQ(identity->parent_content_id, 0xfffffffeu);
  EXPECT_EQ(identity->parent_name, "a b.vmdk");
  EXPECT_EQ(parse_vmdk_identity("CID= 1a\nparentCID=0x12")->content_id, 26u);
  EXPECT_EQ(parse_vmdk_identity("CID=123456789abc\nparentCID=-1")->content_id, 0x56789abcu);
  EXPECT_EQ(parse_vmdk_identity("CID=123456789abc\nparentCID=-1")->parent_content_id, 0xffffffffu);
}

TEST(VmdkDescriptorTest, WrongIdsAndParentsAreRefused) {
  EXPECT_FALSE(parse_vmdk_identity("CID=1\n"));
  EXPECT_FALSE(parse_vmdk_identity(""));
  EXPECT_FALSE(parse_vmdk_identity("CID=xyz\nparentCID=1"));
  EXPECT_FALSE(parse_vmdk_identity("CID=1\nparentCID=1\nparentFileNameHint=\"a"));
  EXPECT_FALSE(parse_vmdk_identity("CID=1\nparentCID=1\nparentFileNameHint"));
  EXPECT_FALSE(parse_vmdk_identity("CID=1\nparentCID=1\nparentFileNameHint=\"" + std::string(1024, 'x') + "\""));
}

TEST(VmdkDescriptorTest, TheKindOfTheImageIsKnown) {
  EXPECT_EQ(*parse_vmdk_create_type("createType=\"monolithicFlat\"\n"), "monolithicFlat");
  EXPECT_EQ(parse_vmdk_create_type("createType=\"custom\"").error().message(), "Unsupported image type 'custom'");
  EXPECT_EQ(parse_vmdk_create_type("x").error().message(), "invalid VMDK image descriptor");
}

TEST(VmdkDescriptorTest, ExtentsAreReadInOrder) {
  const auto extents = parse_vmdk_extents(
      "# x\nRW 100 FLAT \"a-f001.vmdk\" 2\r\n  RW 50 SPARSE \"b c.vmdk\"\nRDONLY 3 FLAT \"d\" 0\n"
      "RW 0 FLAT \"e\" 0\nRW 5 ZERO\nRW 7 VMFS \"f\"");
  ASSERT_TRUE(extents) << extents.error().message();
  ASSERT_EQ(extents->size(), 3u);
  EXPECT_EQ((*extents)[0], (VmdkExtentLine{VmdkExtentType::kFlat, "FLAT", 100, "a-f001.vmdk", 2}));
  EXPECT_EQ((*extents)[1], (VmdkExtentLine{VmdkExtentType::kSparse, "SPARSE", 50, "b c.vmdk", 0}));
  EXPECT_EQ((*extents)[2], (VmdkExtentLine{VmdkExtentType::kVmfs, "VMFS", 7, "f", 0}));
}

TEST(VmdkDescriptorTest, WrongExtentsAreRefused) {
  EXPECT_EQ(extent_refusal("RW 1 FLAT \"a\"\n"), "Invalid extent line: RW 1 FLAT \"a\"");
  EXPECT_EQ(extent_refusal("RW 1 FLAT \"a\" -1\n"), "Invalid extent line: RW 1 FLAT \"a\" -1");
  EXPECT_EQ(extent_refusal("RW 1 SPARSE \"a\" 0\n"), "Invalid extent line: RW 1 SPARSE \"a\" 0");
  EXPECT_EQ(extent_refusal("RW 1 VMFS \"a\" 0\n"), "Invalid extent line: RW 1 VMFS \"a\" 0");
  EXPECT_EQ(extent_refusal("RW 1 SESPARSE \"a\"\n"), "Extents of the type SESPARSE are not supported");
  EXPECT_EQ(extent_refusal("version=1\n"), "The image has no extents");
  std::string many;
  for (std::size_t i = 0; i <= kVmdkExtentsMax; ++i) many += "RW 1 SPARSE \"a\"\n";
  EXPECT_EQ(extent_refusal(many), "The image has more than 400 extents");
}

}  // namespace
}  // namespace blockexport::drivers::foreign
