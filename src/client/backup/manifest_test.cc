#include "client/backup/manifest.h"

#include <gtest/gtest.h>

namespace blockexport::backup {
namespace {

Manifest full_point() {
  return {.number = 1,
          .time = "2026-01-02T03:04:05Z",
          .export_name = "vda",
          .disk_bytes = 1000,
          .parent = {},
          .bitmap = {},
          .records = 2,
          .table_sum = sha256_of("table"),
          .data_bytes = 600,
          .zero_bytes = 400};
}

Manifest incremental_point() {
  Manifest manifest = full_point();
  manifest.number = 2;
  manifest.parent = ParentPoint{.number = 1, .sum = sha256_of("parent")};
  manifest.bitmap = "c1";
  manifest.data_bytes = 10;
  manifest.zero_bytes = 20;
  return manifest;
}

std::string text_of(const Manifest& manifest) {
  auto text = encode_manifest(manifest);
  EXPECT_TRUE(text);
  return text ? *text : "";
}

std::string error_of(std::string_view text) {
  const auto parsed = parse_manifest(text);
  return parsed ? "" : parsed.error().message();
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t found = text.find(from);
  EXPECT_NE(found, std::string::npos);
  return text.replace(found, from.size(), to);
}

TEST(ManifestTest, AManifestSurvivesItsText) {
  for (const Manifest& manifest : {full_point(), incremental_point()}) {
    const auto parsed = parse_manifest(text_of(manifest));
    ASSERT_TRUE(parsed) << parsed.error().message();
    EXPECT_EQ(parsed->manifest, manifest);
  }
}

TEST(ManifestTest, TheChecksumDoesNotDependOnBlanks) {
  std::string text = text_of(full_point());
  const Sha256 sum = parse_manifest(text)->sum;
  std::erase(text, '\n');
  EXPECT_EQ(parse_manifest(text)->sum, sum);
}

TEST(ManifestTest, AChangedMemberIsDamage) {
  EXPECT_EQ(error_of(replaced(text_of(full_point()), "\"vda\"", "\"vdb\"")), "is damaged: its checksum is wrong");
}

TEST(ManifestTest, EveryTruncatedTextIsDamage) {
  const std::string text = text_of(incremental_point());
  for (std::size_t bytes = 0; bytes + 2 < text.size(); ++bytes) {
    EXPECT_TRUE(error_of(text.substr(0, bytes)).starts_with("is damaged")) << bytes;
  }
}

TEST(ManifestTest, ALaterVersionIsNamedBeforeItsContent) {
  EXPECT_EQ(error_of(R"({"blockexport-backup-point": {"version": 7, "new": []}})"),
            "has version 7 of the format, and this blockexport knows only version 1");
}

TEST(ManifestTest, OtherJsonIsNoManifest) {
  EXPECT_EQ(error_of("{}"), "is not the manifest of a backup point");
  EXPECT_EQ(error_of("[1]"), "is damaged: it is not a JSON object");
  EXPECT_EQ(error_of(std::string(kManifestBytesMax + 1, ' ')), "is damaged: it is too long");
}

TEST(ManifestTest, ImpossibleSizesAreDamageAlthoughTheChecksumIsRight) {
  Manifest manifest = full_point();
  manifest.zero_bytes = 399;
  EXPECT_EQ(error_of(text_of(manifest)), "is damaged: the sizes contradict each other");
  manifest.zero_bytes = 401;
  EXPECT_EQ(error_of(text_of(manifest)), "is damaged: a member is missing or impossible");
  manifest = full_point();
  manifest.records = 1001;
  EXPECT_EQ(error_of(text_of(manifest)), "is damaged: a member is missing or impossible");
}

TEST(ManifestTest, AParentIsOlderThanItsChild) {
  Manifest manifest = incremental_point();
  manifest.parent->number = 2;
  EXPECT_EQ(error_of(text_of(manifest)), "is damaged: a member about its parent is missing or impossible");
}

TEST(ManifestTest, NamesThatJsonWouldChangeAreRefused) {
  Manifest manifest = full_point();
  manifest.export_name = "\xff";
  EXPECT_FALSE(encode_manifest(manifest));
  manifest.export_name = "gr\xc3\xbc\xc3\x9f";
  EXPECT_TRUE(encode_manifest(manifest));
}

TEST(PointIdTest, AnIdHasOneSpelling) {
  EXPECT_EQ(id_of(1), "000001");
  EXPECT_EQ(number_from_id("000042"), 42u);
  EXPECT_EQ(number_from_id("1234567"), 1234567u);
  for (const char* text : {"", "1", "000000", "0000001", "00001x", "-00001", "9999999999", "../0001"}) {
    EXPECT_FALSE(number_from_id(text)) << text;
  }
}

TEST(TimeTextTest, ATimeIsUtc) {
  EXPECT_EQ(time_text(0), "1970-01-01T00:00:00Z");
}

}  // namespace
}  // namespace blockexport::backup
