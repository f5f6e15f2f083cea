#include "client/serve/image_magic.h"

#include <gtest/gtest.h>

#include <string>

namespace blockexport::serve {
namespace {

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(ImageMagicTest, TellsFormatsByTheirBegin) {
  using namespace std::string_literals;
  EXPECT_EQ(detected_format(bytes("QFI\xfb\0\0\0\3"s), {}), "qcow2");
  EXPECT_EQ(detected_format(bytes("QFI\xfb\0\0\0\1"s), {}), "qcow");
  EXPECT_EQ(detected_format(bytes("KDMV\1\0\0\0"s), {}), "vmdk");
  EXPECT_EQ(detected_format(bytes("# Disk DescriptorFile\n"s), {}), "vmdk");
  EXPECT_EQ(detected_format(bytes("vhdxfile"s), {}), "vhdx");
  EXPECT_EQ(detected_format(bytes(std::string(64, '<') + "\x7f\x10\xda\xbe"s), {}), "vdi");
  EXPECT_EQ(detected_format(bytes("LUKS\xba\xbe\0\1"s), {}), "luks");
  EXPECT_EQ(detected_format(bytes("\x1f\x8b\x08"s), {}), "gzip");
}

TEST(ImageMagicTest, TellsFormatsByTheirEnd) {
  const std::string footer = "conectix" + std::string(504, '\0');
  EXPECT_EQ(detected_format(bytes(std::string(512, '\0')), bytes(footer)), "vpc");
}

TEST(ImageMagicTest, OtherBytesHaveNoFormat) {
  EXPECT_EQ(detected_format({}, {}), "");
  EXPECT_EQ(detected_format(bytes("QFI"), bytes("conecti")), "");
  EXPECT_EQ(detected_format(bytes(std::string(512, '\0')), bytes(std::string(512, '\0'))), "");
  EXPECT_EQ(detected_format(bytes(std::string(64, '<') + "\x7f\x10"), {}), "");
}

}  // namespace
}  // namespace blockexport::serve
