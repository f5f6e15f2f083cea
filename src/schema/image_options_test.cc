#include "schema/image_options.h"

#include <gtest/gtest.h>

#include "json/writer.h"
#include "schema/codec.h"

namespace blockexport::schema {
namespace {

std::string text_of(const Result<ImageOptions>& options) {
  if (!options) return options.error().message();
  return json::to_string(encode(options->options));
}

std::string of_json(std::string_view text, std::string_view format = {}) {
  return text_of(options_of_json(text, format));
}

TEST(ImageOptionsTest, APathIsAFormatOverAFile) {
  auto options = options_of_path("a,b", "", "raw");
  EXPECT_EQ(text_of(options), R"({"driver": "raw", "file": {"driver": "file", "filename": "a,b"}})");
  EXPECT_TRUE(options->implies_file);
  EXPECT_FALSE(options->needs_format);
  EXPECT_TRUE(options->is_plain);
}

TEST(ImageOptionsTest, APathWithoutAFormatNeedsOne) {
  auto options = options_of_path("a", "host_device", "");
  EXPECT_EQ(text_of(options), R"({"driver": "raw", "file": {"driver": "host_device", "filename": "a"}})");
  EXPECT_FALSE(options->implies_file);
  EXPECT_TRUE(options->needs_format);
}

TEST(ImageOptionsTest, AFormatMayBeADriverOfFiles) {
  auto options = options_of_path("a", "", "file");
  EXPECT_EQ(text_of(options), R"({"driver": "file", "filename": "a"})");
  EXPECT_FALSE(options->implies_file);
  EXPECT_EQ(text_of(options_of_path("null-co://", "null-co", "null-co")), R"({"driver": "null-co"})");
  EXPECT_EQ(text_of(options_of_path("null-co://", "null-co", "raw")),
            R"({"driver": "raw", "file": {"driver": "null-co"}})");
}

TEST(ImageOptionsTest, AnUnknownDriverIsAnErrorWhereverItIs) {
  EXPECT_EQ(text_of(options_of_path("a", "", "vdix")), "Unknown driver 'vdix'");
  EXPECT_EQ(of_json(R"({"driver": "vdix"})"), "Unknown driver 'vdix'");
  EXPECT_EQ(of_json(R"({"driver": "raw", "file": {"driver": "nbd"}})"), "Unknown driver 'nbd'");
  EXPECT_EQ(of_json(R"({"file": {"driver": "file", "filename": "a"}})", "foo/bar"), "Unknown driver 'foo/bar'");
}

TEST(ImageOptionsTest, JsonHasTheOptionsOfTheNode) {
  auto options =
      options_of_json(R"({"driver": "raw", "offset": 512, "file": {"driver": "file", "filename": "a"}})", "");
  EXPECT_EQ(text_of(options), R"({"driver": "raw", "file": {"driver": "file", "filename": "a"}, "offset": 512})");
  EXPECT_FALSE(options->implies_file);
  EXPECT_FALSE(options->is_plain);
  EXPECT_FALSE(options->needs_format);
}

TEST(ImageOptionsTest, ScalarsMayBeStringsAndKeysMayHaveDots) {
  EXPECT_EQ(of_json(R"({"driver": "raw", "offset": "512", "read-only": "on", "file.filename": "a,b=c"})"),
            R"({"driver": "raw", "read-only": true, "file": {"driver": "file", "filename": "a,b=c"}, "offset": 512})");
  EXPECT_EQ(of_json(R"({"driver": "raw", "read-only": true, "file": {"driver": "file"}, "file.filename": "a"})"),
            R"({"driver": "raw", "read-only": true, "file": {"driver": "file", "filename": "a"}})");
}

TEST(ImageOptionsTest, TheFormatOfTheHeaderReplacesTheDriver) {
  auto options = options_of_json(R"({"driver": "snapshot-access", "file": {"filename": "a"}})", "raw");
  EXPECT_EQ(text_of(options), R"({"driver": "raw", "file": {"driver": "file", "filename": "a"}})");
  EXPECT_TRUE(options->implies_file);
  EXPECT_TRUE(options->is_plain);
}

TEST(ImageOptionsTest, JsonWithoutADriverNeedsTheFormat) {
  auto options = options_of_json(R"({"file.driver": "raw", "file.file.filename": "a"})", "");
  EXPECT_EQ(text_of(options),
            R"({"driver": "raw", "file": {"driver": "raw", "file": {"driver": "file", "filename": "a"}}})");
  EXPECT_TRUE(options->needs_format);
  EXPECT_TRUE(options->implies_file);
  EXPECT_FALSE(options->is_plain);
}

TEST(ImageOptionsTest, ErrorsAreThoseOfQemuStorageDaemon) {
  EXPECT_EQ(of_json("{}"), "Must specify either driver or file");
  EXPECT_EQ(of_json("[1]"), "Invalid JSON object given");
  EXPECT_EQ(of_json("{"), "Could not parse the JSON options: 1:2: JSON parse error, premature end of input");
  EXPECT_EQ(of_json(R"({"driver": "raw"} x)"), "Could not parse the JSON options: Expecting at most one JSON value");
  EXPECT_EQ(of_json(R"({"driver": "raw"})"), "A block device must be specified for \"file\"");
  EXPECT_EQ(of_json(R"({"driver": "raw", "file": null})"), "A block device must be specified for \"file\"");
  EXPECT_EQ(of_json(R"({"driver": "file", "filename": "a"})", "raw"), "A block device must be specified for \"file\"");
  EXPECT_EQ(of_json(R"({"driver": "raw", "file": {"driver": "raw"}})"),
            "A block device must be specified for \"file\"");
}

TEST(ImageOptionsTest, ValuesOfAWrongFormAreErrors) {
  EXPECT_EQ(of_json(R"({"driver": {"a": 1}})"), "Parameter 'driver' is missing");
  EXPECT_EQ(of_json(R"({"driver": "file", "filename": null})"), "Parameters 'filename.*' are unexpected");
  EXPECT_EQ(of_json(R"({"driver": "file", "a=b": "c"})"), "Invalid parameter 'a=b'");
  EXPECT_EQ(of_json(R"({"driver": "raw", "file": "x", "file.filename": null})"),
            "Parameters 'file.*' used inconsistently");
  EXPECT_EQ(of_json(R"({"driver": "raw", "foo": "x", "file.filename": "a"})"), "Parameter 'foo' is unexpected");
  const std::string deep(kNameNestingMax + 1, '[');
  EXPECT_EQ(of_json("{\"a\":" + deep).substr(0, 34), "Could not parse the JSON options: ");
}

TEST(ImageOptionsTest, ANodeMayBeNamed) {
  EXPECT_EQ(of_json(R"({"driver": "raw", "file": "other"})"), R"({"driver": "raw", "file": "other"})");
}

TEST(ImageOptionsTest, TheLowestFileIsAtTheEndOfTheChain) {
  auto options = options_of_json(R"({"driver": "raw", "file": {"driver": "raw", "file": {"filename": "a"}}})", "");
  ASSERT_TRUE(options);
  EXPECT_EQ(lowest_file(options->options).as<BlockdevDriver::kFile>().filename, "a");
  EXPECT_EQ(lowest_file(options->options).driver(), BlockdevDriver::kFile);
}

}  // namespace
}  // namespace blockexport::schema
