#include "drivers/image_names.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "aio/sync/sync.h"
#include "base/log.h"
#include "block/testing/reactor_test.h"
#include "block/testing/temp_dir.h"
#include "json/writer.h"
#include "schema/codec.h"

namespace blockexport::drivers {
namespace {

using block::ImageReference;
using block::ReferenceKind;

std::string text_of(const Result<schema::ImageOptions>& named) {
  return named ? json::to_string(schema::encode(named->options)) : named.error().message();
}
std::string text_of(const Result<schema::BlockdevOptions>& options) {
  return options ? json::to_string(schema::encode(*options)) : options.error().message();
}
std::string parse(std::string name, std::string format = "raw", std::string_view image_path = "dir/top") {
  return text_of(parse_image_name({.name = std::move(name), .format = std::move(format)}, image_path));
}
std::string raw_over(const std::string& path, const std::string& driver = "file") {
  return R"({"driver": "raw", "file": {"driver": ")" + driver + R"(", "filename": ")" + path + "\"}}";
}

TEST(ImageNameTest, APathIsRelativeToTheImage) {
  EXPECT_EQ(parse("base"), raw_over("dir/base"));
  EXPECT_EQ(parse("../base"), raw_over("dir/../base"));
  EXPECT_EQ(parse("/abs/base"), raw_over("/abs/base"));
  EXPECT_EQ(parse("base", "raw", "top"), raw_over("base"));
  EXPECT_EQ(parse("base", "raw", "/top"), raw_over("/base"));
  EXPECT_EQ(parse("base", "raw", ""), "Cannot use relative backing file names: the image is in no file");
}

TEST(ImageNameTest, AColonAfterASlashIsPartOfAPath) {
  EXPECT_EQ(parse("./a:b"), raw_over("dir/./a:b"));
  EXPECT_EQ(parse("a:b"), "Unknown protocol 'a'");
}

TEST(ImageNameTest, AProtocolIsADriverWithoutTheDirectory) {
  EXPECT_EQ(parse("file:base"), raw_over("base"));
  EXPECT_EQ(parse("file:///base"), raw_over("///base"));
  EXPECT_EQ(parse("host_device:/dev/x"), raw_over("/dev/x", "host_device"));
  EXPECT_EQ(parse("null-co://", "raw"), R"({"driver": "raw", "file": {"driver": "null-co"}})");
  EXPECT_EQ(parse("null-co://x", "raw"), "The only allowed filename for this driver is 'null-co://'");
}

TEST(ImageNameTest, AProtocolThatIsNotBuiltIsUnknown) {
  EXPECT_EQ(parse("nbd:localhost:1"), "Unknown protocol 'nbd'");
  EXPECT_EQ(parse("https://host/a"), "Unknown protocol 'https'");
  EXPECT_EQ(parse("raw:base"), "Unknown protocol 'raw'");
  EXPECT_EQ(parse(":base"), "Unknown protocol ''");
  EXPECT_EQ(parse("blkdebug::base"), "A name 'blkdebug:CONFIG:IMAGE' inside an image is not supported");
}

TEST(ImageNameTest, AFormatOfFilesTakesThePathItself) {
  EXPECT_EQ(parse("base", "file"), R"({"driver": "file", "filename": "dir/base"})");
  EXPECT_EQ(parse("file:base", "file"), R"({"driver": "file", "filename": "base"})");
  EXPECT_EQ(parse("host_device:/dev/x", "host_device"), R"({"driver": "host_device", "filename": "/dev/x"})");
}

TEST(ImageNameTest, AFormatThatIsNotBuiltIsUnknown) {
  EXPECT_EQ(parse("base", "vdix"), "Unknown driver 'vdix'");
}

TEST(ImageNameTest, ANameEndsAtItsFirstNul) {
  EXPECT_EQ(parse(std::string("base\0more", 9)), raw_over("dir/base"));
}

TEST(ImageNameTest, JsonIsNotRelativeToTheImage) {
  EXPECT_EQ(parse(R"(json:{"file.filename": "base"})"), raw_over("base"));
}

TEST(ImageNameTest, ADataFileIsAPathAndNothingElse) {
  for (const std::string name : {"data", "file:data", "json:{}", "nbd:x"}) {
    EXPECT_EQ(text_of(parse_image_name({.kind = ReferenceKind::kDataFile, .name = name}, "dir/top")),
              R"({"driver": "file", "filename": ")" + name + "\"}");
  }
}

TEST(ImageNameTest, OnlyTheMagicOfQcow2WithAVersionIsQcow2) {
  using namespace std::string_view_literals;
  EXPECT_EQ(probe_format("QFI\xfb\0\0\0\3"sv), "qcow2");
  EXPECT_EQ(probe_format("QFI\xfb\0\0\0\2more"sv), "qcow2");
  EXPECT_EQ(probe_format("QFI\xfb\0\0\0\1"sv), "raw");
  EXPECT_EQ(probe_format("QFI\xfb\0\0\0"sv), "raw");
  EXPECT_EQ(probe_format(""), "raw");
}

class ResolveImageNameTest : public block::ReactorTest {
 protected:
  ResolveImageNameTest() {
    std::filesystem::create_directory(directory_.path("images"));
    for (const char* name : {"images/base", "secret"}) std::ofstream(directory_.path(name)) << std::string(1024, 'x');
  }
  Result<schema::BlockdevOptions> resolve(ImageReference reference, const ReferencePolicy& policy) {
    return run(resolve_image_name(std::move(reference), directory_.path("images/top"), policy, nullptr));
  }
  ReferencePolicy beneath_images() {
    auto directories = AllowedDirectories::open({directory_.path("images")});
    EXPECT_TRUE(directories);
    return ReferencePolicy::beneath(std::move(*directories));
  }

  block::TempDir directory_;
};

TEST_F(ResolveImageNameTest, ADeviceIsOpenedAsOne) {
  EXPECT_EQ(text_of(resolve({.name = "/dev/null", .format = "raw"}, ReferencePolicy::allow())),
            raw_over("/dev/null", "host_device"));
  EXPECT_EQ(text_of(resolve({.name = R"(json:{"file": {"filename": "/dev/null"}})", .format = "raw"},
                            ReferencePolicy::allow())),
            raw_over("/dev/null", "host_device"));
  EXPECT_EQ(text_of(resolve({.kind = ReferenceKind::kDataFile, .name = "/dev/null"}, ReferencePolicy::allow())),
            R"({"driver": "host_device", "filename": "/dev/null"})");
  // Here the name itself says that it is a file.
  EXPECT_EQ(text_of(resolve({.name = "/dev/null", .format = "file"}, ReferencePolicy::allow())),
            R"({"driver": "file", "filename": "/dev/null"})");
}

TEST_F(ResolveImageNameTest, AMissingFormatIsProbedWithAWarning) {
  const std::string path = directory_.path("log");
  const OwnedFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  {
    const Log log("test", fd.get(), LogLevel::kWarning);
    EXPECT_EQ(text_of(run(
                  resolve_image_name({.name = "base"}, directory_.path("images/top"), ReferencePolicy::allow(), &log))),
              raw_over(directory_.path("images/base")));
    log.flush();
  }
  std::ifstream file(path);
  const std::string line{std::istreambuf_iterator<char>(file), {}};
  EXPECT_NE(line.find("/images/top' does not say the format of its backing file 'base', which was probed as raw"),
            std::string::npos)
      << line;
}

TEST_F(ResolveImageNameTest, AnEmptyFileIsRaw) {
  std::ofstream(directory_.path("images/empty"));
  EXPECT_EQ(text_of(resolve({.name = "empty"}, ReferencePolicy::allow())), raw_over(directory_.path("images/empty")));
}

TEST_F(ResolveImageNameTest, AMissingFileIsTheErrorOfItsOpening) {
  EXPECT_EQ(text_of(resolve({.name = "none"}, ReferencePolicy::allow())),
            "Could not open '" + directory_.path("images/none") + "': No such file or directory");
}

TEST_F(ResolveImageNameTest, DenyRefusesEveryName) {
  auto backing = resolve({.name = "base", .format = "raw"}, ReferencePolicy::deny());
  ASSERT_FALSE(backing);
  EXPECT_EQ(backing.error().message(), "The image names 'base', and --image-references deny forbids to open it");
  EXPECT_EQ(backing.error().hint(), "Give 'backing' in the options of the node: a node, or null for none.");
  auto data = resolve({.kind = ReferenceKind::kDataFile, .name = "data"}, ReferencePolicy::deny());
  ASSERT_FALSE(data);
  EXPECT_EQ(data.error().hint(), "Give 'data-file' in the options of the node.");
}

TEST_F(ResolveImageNameTest, UnderDirectoriesNoFormatIsProbed) {
  EXPECT_EQ(text_of(resolve({.name = "base"}, beneath_images())),
            "The image does not say the format of 'base', and --image-references forbids to guess it");
}

TEST_F(ResolveImageNameTest, UnderDirectoriesJsonIsNoMoreThanAFile) {
  const ReferencePolicy policy = beneath_images();
  const std::string path = directory_.path("images/base");
  for (const std::string& text : {R"({"file": {"filename": ")" + path + "\"}}", "{\"file.filename\": \"" + path + "\"}",
                                  R"({"driver": "raw", "file": {"driver": "file", "filename": ")" + path + "\"}}"}) {
    EXPECT_EQ(text_of(resolve({.name = "json:" + text, .format = "raw"}, policy)), raw_over(path)) << text;
  }
  for (const std::string text :
       {R"({"driver": "raw", "offset": 0, "file": {"driver": "file", "filename": "x"}})",
        R"({"driver": "raw", "read-only": false, "file": {"driver": "file", "filename": "x"}})",
        R"({"driver": "raw", "file": {"driver": "file", "filename": "x", "locking": "off"}})",
        R"({"driver": "raw", "file": {"driver": "null-co"}})",
        R"({"driver": "raw", "file": {"driver": "raw", "file": {"driver": "file", "filename": "x"}}})",
        R"({"driver": "raw", "file": "node"})"}) {
    const std::string name = "json:" + text;
    EXPECT_EQ(text_of(resolve({.name = name, .format = "raw"}, policy)),
              "--image-references allows only files, not '" + name + "'");
  }
}

}  // namespace
}  // namespace blockexport::drivers
