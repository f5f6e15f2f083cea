#include "drivers/qcow2/format/header_extensions.h"

#include <gtest/gtest.h>

#include <random>

#include "base/byte_writer.h"
#include "drivers/qcow2/format/feature_names.h"

namespace blockexport::drivers::qcow2 {
namespace {

Header sound_header() {
  return {.cluster_bits = 12,
          .size_bytes = 1u << 20,
          .l1_entries = 1,
          .l1_offset = 3u << 12,
          .refcount_table_offset = 1u << 12,
          .refcount_table_clusters = 1,
          .autoclear_features = kAutoclearBitmaps,
          .later_fields = std::vector<std::byte>(7)};
}

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// The message for an image with one extension.
std::string refusal(Header header, std::uint32_t type, std::vector<std::byte> data) {
  HeaderExtensions extensions;
  extensions.set(type, std::move(data));
  const auto begin = encode_file_begin(header, extensions, "");
  if (!begin) return begin.error().message();
  const auto parsed = parse_header_extensions(header, *begin);
  return parsed ? "" : parsed.error().message();
}

TEST(Qcow2HeaderExtensionsTest, AllAreReadAsTheyWereWrittenAndInOrder) {
  Header header = sound_header();
  HeaderExtensions extensions;
  extensions.set(0x12345678, bytes_of("unknown"));
  extensions.set_text(kExtensionBackingFormat, "qcow2");
  extensions.set_text(kExtensionDataFile, "data.raw");
  extensions.set_bitmaps({.bitmaps = 2, .directory_bytes = 64, .directory_offset = 5u << 12});
  extensions.set(kExtensionFeatureNames, encode_feature_names());
  extensions.set(0x9abcdef0, {});
  const auto begin = encode_file_begin(header, extensions, "/base");
  ASSERT_TRUE(begin);
  const auto again = parse_header(*begin, HeaderUse::kRead);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, header);
  EXPECT_EQ(parse_backing_name(header, *begin).value(), "/base");
  const auto parsed = parse_header_extensions(header, *begin);
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(*parsed, extensions);
  EXPECT_EQ(parsed->backing_format(), "qcow2");
  EXPECT_EQ(parsed->data_file_name(), "data.raw");
  EXPECT_EQ(parsed->bitmaps(header),
            (BitmapsExtension{.bitmaps = 2, .directory_bytes = 64, .directory_offset = 5u << 12}));
  header.autoclear_features = 0;
  EXPECT_EQ(parsed->bitmaps(header), std::nullopt);
}

TEST(Qcow2HeaderExtensionsTest, SetReplacesInPlaceAndRemovesDuplicates) {
  HeaderExtensions extensions;
  extensions.list = {{1, bytes_of("a")}, {2, bytes_of("b")}, {1, bytes_of("c")}};
  ASSERT_NE(extensions.find(1), nullptr);
  EXPECT_EQ(extensions.find(1)->data, bytes_of("c"));
  extensions.set(1, bytes_of("d"));
  EXPECT_EQ(extensions, (HeaderExtensions{.list = {{1, bytes_of("d")}, {2, bytes_of("b")}}}));
  extensions.remove(1);
  EXPECT_EQ(extensions.find(1), nullptr);
}

TEST(Qcow2HeaderExtensionsTest, TextsEndAtAZeroByte) {
  HeaderExtensions extensions;
  extensions.set(kExtensionBackingFormat, bytes_of(std::string_view("raw\0x", 5)));
  EXPECT_EQ(extensions.backing_format(), "raw");
}

TEST(Qcow2HeaderExtensionsTest, EveryRefusalHasTheTextOfTheReference) {
  const Header header = sound_header();
  EXPECT_EQ(refusal(header, kExtensionBackingFormat, std::vector<std::byte>(16)),
            "ERROR: ext_backing_format: len=16 too large (>=16)");
  EXPECT_EQ(refusal(header, kExtensionEncryption, std::vector<std::byte>(16)),
            "CRYPTO header extension only expected with LUKS encryption method");
  Header luks = header;
  luks.encryption_method = kEncryptionLuks;
  EXPECT_EQ(refusal(luks, kExtensionEncryption, std::vector<std::byte>(8)),
            "CRYPTO header extension size 8, but expected size 16");
  EXPECT_EQ(refusal(luks, kExtensionEncryption, std::vector<std::byte>(16, std::byte{1})),
            "Encryption header offset '72340172838076673' is not a multiple of cluster size '4096'");
  EXPECT_EQ(refusal(luks, kExtensionEncryption, std::vector<std::byte>(16)), "");
  EXPECT_EQ(refusal(header, kExtensionBitmaps, std::vector<std::byte>(23)), "bitmaps_ext: Invalid extension length");
  EXPECT_EQ(refusal(header, kExtensionBitmaps, std::vector<std::byte>(24)),
            "found bitmaps extension with zero bitmaps");
  const auto bitmaps = [](std::uint32_t count, std::uint32_t reserved, std::uint64_t bytes, std::uint64_t offset) {
    std::vector<std::byte> data(24);
    ByteWriter writer(data);
    writer.u32(count);
    writer.u32(reserved);
    writer.u64(bytes);
    writer.u64(offset);
    return data;
  };
  EXPECT_EQ(refusal(header, kExtensionBitmaps, bitmaps(1, 1, 24, 4096)), "bitmaps_ext: Reserved field is not zero");
  EXPECT_EQ(refusal(header, kExtensionBitmaps, bitmaps(65536, 0, 24, 4096)),
            "bitmaps_ext: Image has 65536 bitmaps, exceeding the QEMU supported maximum of 65535");
  EXPECT_EQ(refusal(header, kExtensionBitmaps, bitmaps(1, 0, 24, 4095)),
            "bitmaps_ext: invalid bitmap directory offset");
  EXPECT_EQ(refusal(header, kExtensionBitmaps, bitmaps(1, 0, 1u << 30, 4096)),
            "bitmaps_ext: bitmap directory size (1073741824) exceeds the maximum supported size (67107840)");
  Header changed = header;
  changed.autoclear_features = 0;
  EXPECT_EQ(refusal(changed, kExtensionBitmaps, bitmaps(0, 1, 1u << 30, 1)), "");
}

TEST(Qcow2HeaderExtensionsTest, ASectionPastTheAreaIsRefused) {
  Header header = sound_header();
  std::vector<std::byte> begin = encode_header(header);
  begin.resize(4096);
  ByteWriter writer(std::span(begin).subspan(112));
  writer.u32(77);
  writer.u32(4096 - 112 - 8);
  EXPECT_TRUE(parse_header_extensions(header, begin));
  begin[119] = std::byte(begin[119]) | std::byte{1};
  EXPECT_EQ(parse_header_extensions(header, begin).error().message(), "Header extension too large");
  header.backing_name_offset = 116;
  EXPECT_EQ(parse_header_extensions(header, begin).error().message(), "Header extension too large");
  header.backing_name_offset = 100;  // in the header: the area is empty
  EXPECT_EQ(parse_header_extensions(header, begin).value(), HeaderExtensions());
}

TEST(Qcow2HeaderExtensionsTest, AFileBeginLargerThanAClusterIsNotWritten) {
  Header header = sound_header();
  HeaderExtensions extensions;
  extensions.set(5, std::vector<std::byte>(4096 - 112 - 16));
  EXPECT_TRUE(encode_file_begin(header, extensions, ""));
  EXPECT_FALSE(encode_file_begin(header, extensions, "x"));
  EXPECT_FALSE(encode_file_begin(header, {}, std::string(1024, 'x')));
}

TEST(Qcow2HeaderExtensionsTest, NoBytesBreakTheParser) {
  std::mt19937 random(2);
  Header header = sound_header();
  HeaderExtensions extensions;
  extensions.set_text(kExtensionBackingFormat, "raw");
  extensions.set_bitmaps({.bitmaps = 1, .directory_bytes = 32, .directory_offset = 4096});
  extensions.set(kExtensionFeatureNames, encode_feature_names());
  const auto begin = encode_file_begin(header, extensions, "base");
  ASSERT_TRUE(begin);
  std::size_t accepted = 0;
  for (int round = 0; round < 20000; round++) {
    std::vector<std::byte> bytes = *begin;
    for (unsigned flips = random() % 3; flips > 0; flips--) {
      bytes[112 + random() % (bytes.size() - 112)] ^= std::byte(1 << random() % 8);
    }
    bytes.resize(random() % 4 == 0 ? random() % bytes.size() : bytes.size());
    const auto parsed = parse_header_extensions(header, bytes);
    if (!parsed) continue;
    accepted++;
    Header rewritten = header;
    const auto again = encode_file_begin(rewritten, *parsed, "base");
    ASSERT_TRUE(again);
    ASSERT_EQ(parse_header_extensions(rewritten, *again).value(), *parsed);
  }
  EXPECT_GT(accepted, 1000u);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
