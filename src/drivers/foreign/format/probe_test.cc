#include "drivers/foreign/format/probe.h"

#include <gtest/gtest.h>

#include "drivers/foreign/testing/sample_images.h"

namespace blockexport::drivers::foreign {
namespace {

std::string_view probe(const ImageBytes& image) {
  return probe_foreign(image.span().first(std::min<std::size_t>(image.size(), 512)));
}

TEST(ProbeTest, EachFormatIsRecognised) {
  EXPECT_EQ(probe(sample_vdi()), "vdi");
  EXPECT_EQ(probe(sample_vpc()), "vpc");
  EXPECT_EQ(probe(sample_vmdk()), "vmdk");
  EXPECT_EQ(probe(sample_vhdx()), "vhdx");
  EXPECT_EQ(probe(sample_parallels()), "parallels");
  EXPECT_EQ(probe(sample_parallels().text(0, "WithoutFreeSpace")), "parallels");
}

TEST(ProbeTest, ADescriptorIsAVmdkImage) {
  EXPECT_EQ(probe(ImageBytes().text(0, "# Disk DescriptorFile\nversion=1\nCID=1\n")), "vmdk");
  EXPECT_EQ(probe(ImageBytes().text(0, "#\r\n  \r\nversion=3\r\n")), "vmdk");
  EXPECT_EQ(probe(ImageBytes().text(0, "# Disk DescriptorFile\nversion=4\n")), "");
  EXPECT_EQ(probe(ImageBytes().text(0, "CID=1\nversion=1\n")), "");
}

TEST(ProbeTest, OtherBytesAreNoImage) {
  EXPECT_EQ(probe(ImageBytes(512)), "");
  EXPECT_EQ(probe(ImageBytes()), "");
  EXPECT_EQ(probe_foreign(sample_vdi().span().first(100)), "");
}

}  // namespace
}  // namespace blockexport::drivers::foreign
