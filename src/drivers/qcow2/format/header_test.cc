#include "drivers/qcow2/format/header.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "base/byte_writer.h"
#include "drivers/qcow2/format/feature_names.h"
#include "drivers/qcow2/format/header_extensions.h"

namespace blockexport::drivers::qcow2 {
namespace {

Header sound_header() {
  return {.cluster_bits = 16,
          .size_bytes = 1u << 30,
          .l1_entries = 2,
          .l1_offset = 3u << 16,
          .refcount_table_offset = 1u << 16,
          .refcount_table_clusters = 1};
}

std::string refusal(const Header& header, HeaderUse use = HeaderUse::kRead) {
  const auto parsed = parse_header(encode_header(header), use);
  return parsed ? "" : parsed.error().message();
}

// The message for a header with `value` of `bytes` bytes at `offset`.
std::string refusal_of_bytes(std::size_t offset, std::uint64_t value, std::size_t bytes) {
  std::vector<std::byte> header = encode_header(sound_header());
  for (std::size_t i = 0; i < bytes; i++) header[offset + i] = std::byte(value >> (8 * (bytes - 1 - i)));
  const auto parsed = parse_header(header, HeaderUse::kRead);
  return parsed ? "" : parsed.error().message();
}

TEST(Qcow2HeaderTest, AHeaderIsReadAsItWasWritten) {
  Header header = sound_header();
  header.incompatible_features = kIncompatibleDirty | kIncompatibleCompression | kIncompatibleExtendedL2;
  header.compatible_features = kCompatibleLazyRefcounts | 0x100;
  header.autoclear_features = kAutoclearBitmaps | 0x1000;
  header.compression_type = CompressionType::kZstd;
  header.refcount_order = 6;
  header.header_bytes = 120;
  header.later_fields.assign(15, std::byte{7});
  header.l1_entries = 5;
  header.snapshots = 3;
  header.snapshots_offset = 5u << 16;
  const auto parsed = parse_header(encode_header(header), HeaderUse::kReadWrite);
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(*parsed, header);
  const Geometry geometry = parsed->geometry();
  EXPECT_TRUE(geometry.extended_l2 && geometry.zero_flag && !geometry.data_file);
  EXPECT_EQ(geometry.refcount_order, 6u);
}

TEST(Qcow2HeaderTest, Version2HasTheDefaultsOfItsTime) {
  Header header = sound_header();
  header.version = 2;
  header.header_bytes = kHeaderBytesVersion2;
  std::vector<std::byte> bytes = encode_header(header);
  EXPECT_EQ(bytes.size(), 72u);
  bytes.resize(200, std::byte{0xff});  // no feature bits
  const auto parsed = parse_header(bytes, HeaderUse::kReadWrite);
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(*parsed, header);
  EXPECT_FALSE(parsed->geometry().zero_flag);
  EXPECT_EQ(parsed->geometry().refcount_max(), 0xffffu);
}

TEST(Qcow2HeaderTest, AShortHeaderOfVersion3HasNoCompressionType) {
  Header header = sound_header();
  header.header_bytes = 104;
  std::vector<std::byte> bytes = encode_header(header);
  ASSERT_EQ(bytes.size(), 104u);
  bytes.resize(112, std::byte{1});
  const auto parsed = parse_header(bytes, HeaderUse::kRead);
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(parsed->compression_type, CompressionType::kZlib);
}

TEST(Qcow2HeaderTest, EveryRefusalHasTheTextOfTheReference) {
  EXPECT_EQ(refusal_of_bytes(0, 0, 1), "Image is not in qcow2 format");
  EXPECT_EQ(refusal_of_bytes(4, 1, 4), "Unsupported qcow2 version 1");
  EXPECT_EQ(refusal_of_bytes(4, 4, 4), "Unsupported qcow2 version 4");
  EXPECT_EQ(refusal_of_bytes(20, 8, 4), "Unsupported cluster size: 2^8");
  EXPECT_EQ(refusal_of_bytes(20, UINT32_MAX, 4), "Unsupported cluster size: 2^4294967295");
  EXPECT_EQ(refusal_of_bytes(100, 103, 4), "qcow2 header too short");
  EXPECT_EQ(refusal_of_bytes(100, 65537, 4), "qcow2 header exceeds cluster size");
  EXPECT_EQ(refusal_of_bytes(8, 65537, 8), "Invalid backing file offset");
  EXPECT_EQ(refusal_of_bytes(104, 2, 1), "qcow2: unknown compression type: 2");
  EXPECT_EQ(refusal_of_bytes(104, 1, 1), "qcow2: Compression type incompatible feature bit must be set");
  EXPECT_EQ(refusal_of_bytes(72, 8, 8), "qcow2: Compression type incompatible feature bit must not be set");
  EXPECT_EQ(refusal_of_bytes(96, 7, 4), "Reference count entry width too large; may not exceed 64 bits");
  EXPECT_EQ(refusal_of_bytes(56, 0, 4), "Image does not contain a reference count table");
  EXPECT_EQ(refusal_of_bytes(56, 129, 4), "Reference count table too large");
  EXPECT_EQ(refusal_of_bytes(48, 1, 8), "Reference count table offset invalid");
  EXPECT_EQ(refusal_of_bytes(48, INT64_MAX & ~0xffff, 8), "Reference count table offset invalid");
  EXPECT_EQ(refusal_of_bytes(60, 65537, 4), "Snapshot table too large");
  EXPECT_EQ(refusal_of_bytes(64, 512, 8), "Snapshot table offset invalid");
  EXPECT_EQ(refusal_of_bytes(36, (32u << 20) / 8 + 1, 4), "Active L1 table too large");
  EXPECT_EQ(refusal_of_bytes(40, UINT64_MAX & ~0xffff, 8), "Active L1 table offset invalid");
  EXPECT_EQ(refusal_of_bytes(24, UINT64_MAX, 8), "Image is too big");
  EXPECT_EQ(refusal_of_bytes(24, INT64_MAX, 8), "Image is too big");
  EXPECT_EQ(refusal_of_bytes(24, (1u << 30) + 1, 8), "L1 table is too small");
  EXPECT_EQ(refusal_of_bytes(24, 1u << 30, 8), "");
}

TEST(Qcow2HeaderTest, ExtendedEntriesNeedSubclustersOfASector) {
  Header header = sound_header();
  header.incompatible_features = kIncompatibleExtendedL2;
  header.cluster_bits = 13;
  header.size_bytes = 0;
  EXPECT_EQ(refusal(header), "Unsupported subcluster size: 256");
  header.cluster_bits = 14;
  EXPECT_EQ(refusal(header), "");
}

TEST(Qcow2HeaderTest, ACorruptImageIsRefusedForWritingOnly) {
  Header header = sound_header();
  header.incompatible_features = kIncompatibleCorrupt;
  EXPECT_EQ(refusal(header, HeaderUse::kRead), "");
  EXPECT_EQ(refusal(header, HeaderUse::kCheck), "");
  EXPECT_EQ(refusal(header, HeaderUse::kReadWrite), "qcow2: Image is corrupt; cannot be opened read/write");
}

TEST(Qcow2HeaderTest, UnknownFeaturesAreRefusedByTheNamesOfTheImage) {
  Header header = sound_header();
  header.incompatible_features = (std::uint64_t{1} << 63) | (1u << 20) | kIncompatibleCorrupt;
  EXPECT_EQ(refusal(header), "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000100000");
  HeaderExtensions extensions;
  std::vector<std::byte> names(3 * kFeatureEntryBytes);
  for (std::size_t i = 0; i < 3; i++) {
    ByteWriter writer(std::span(names).subspan(i * kFeatureEntryBytes, kFeatureEntryBytes));
    writer.u8(i == 0 ? 1 : 0);  // the first one is a compatible feature
    writer.u8(i == 2 ? 200 : 20);
    writer.text(i == 1 ? std::string(46, 'x') : "other");
  }
  extensions.set(kExtensionFeatureNames, names);
  const auto begin = encode_file_begin(header, extensions, "");
  ASSERT_TRUE(begin);
  const auto parsed = parse_header(*begin, HeaderUse::kRead);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().message(), "Unsupported qcow2 feature(s): " + std::string(46, 'x') +
                                          ", Unknown incompatible feature: 8000000000000000");
}

TEST(Qcow2HeaderTest, TheNameOfTheBackingFileIsBounded) {
  Header header = sound_header();
  const auto begin = encode_file_begin(header, {}, "base.raw");
  ASSERT_TRUE(begin);
  EXPECT_EQ(parse_backing_name(header, *begin).value(), "base.raw");
  header.backing_name_bytes = 1024;
  EXPECT_EQ(parse_backing_name(header, *begin).error().message(), "Backing file name too long");
  header.backing_name_offset = 65536;
  header.backing_name_bytes = 1;
  EXPECT_EQ(parse_backing_name(header, *begin).error().message(), "Backing file name too long");
  header.backing_name_offset = 60000;  // the file is shorter
  header.backing_name_bytes = 1023;
  EXPECT_EQ(parse_backing_name(header, *begin).value(), "");
  header.backing_name_offset = 0;
  EXPECT_EQ(parse_backing_name(header, *begin).value(), std::nullopt);
}

TEST(Qcow2HeaderTest, EncryptionMustBeKnownAndAsTheOptionsSay) {
  Header header = sound_header();
  EXPECT_TRUE(check_encryption(header, ""));
  EXPECT_EQ(check_encryption(header, "luks").error().message(),
            "No encryption in image header, but options specified format 'luks'");
  header.encryption_method = kEncryptionAes;
  EXPECT_EQ(check_encryption(header, "luks").error().message(),
            "Header reported 'aes' encryption format but options specify 'luks'");
  header.encryption_method = kEncryptionLuks;
  EXPECT_TRUE(check_encryption(header, ""));
  EXPECT_TRUE(check_encryption(header, "luks"));
  EXPECT_EQ(check_encryption(header, "aes").error().message(),
            "Header reported 'luks' encryption format but options specify 'aes'");
  header.encryption_method = 9;
  EXPECT_EQ(check_encryption(header, "luks").error().message(), "Unsupported encryption method 9");
}

TEST(Qcow2HeaderTest, NoBytesBreakTheParser) {
  std::mt19937 random(1);
  std::size_t accepted = 0;
  for (int round = 0; round < 20000; round++) {
    std::vector<std::byte> bytes = encode_header(sound_header());
    for (unsigned flips = random() % 4; flips > 0; flips--)
      bytes[random() % bytes.size()] ^= std::byte(1 << random() % 8);
    bytes.resize(random() % 4 == 0 ? random() % 112 : 112);
    const auto parsed = parse_header(bytes, HeaderUse::kReadWrite);
    if (!parsed) continue;
    accepted++;
    const auto again = parse_header(encode_header(*parsed), HeaderUse::kReadWrite);
    ASSERT_TRUE(again && *again == *parsed);
  }
  EXPECT_GT(accepted, 1000u);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
