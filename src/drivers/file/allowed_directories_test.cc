#include "drivers/file/allowed_directories.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "block/testing/reactor_test.h"
#include "block/testing/temp_dir.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

namespace fs = std::filesystem;

class AllowedDirectoriesTest : public block::ReactorTest {
 protected:
  AllowedDirectoriesTest() {
    for (const char* name : {"images", "images/deep", "images2", "outside"}) fs::create_directory(at(name));
    for (const char* name : {"images/a", "images/deep/b", "images2/c", "outside/secret"}) {
      std::ofstream(at(name)) << std::string(512, name[0]);
    }
  }
  std::string at(const std::string& name) const { return directory_.path(name); }
  void link(const std::string& target, const std::string& name) { fs::create_symlink(target, at(name)); }
  static std::string open(const AllowedDirectories& allowed, const std::string& path) {
    auto fd = allowed.open_file(path, O_RDONLY);
    return fd ? "" : errno_text(fd.error());
  }
  AllowedDirectories allowed(const std::vector<std::string>& paths) {
    auto opened = AllowedDirectories::open(paths);
    EXPECT_TRUE(opened);
    return std::move(*opened);
  }

  block::TempDir directory_;
  const std::string outside_ = errno_text(Errno(EXDEV));
};

TEST_F(AllowedDirectoriesTest, OpensFilesBeneathAnyOfThem) {
  const auto directories = allowed({at("images"), at("images2/")});
  EXPECT_EQ(open(directories, at("images/a")), "");
  EXPECT_EQ(open(directories, at("images/deep/b")), "");
  EXPECT_EQ(open(directories, at("images/deep/../a")), "");
  EXPECT_EQ(open(directories, at("images2/c")), "");
}

TEST_F(AllowedDirectoriesTest, OpensNothingElse) {
  const auto directories = allowed({at("images")});
  EXPECT_EQ(open(directories, at("outside/secret")), outside_);
  EXPECT_EQ(open(directories, at("images/../outside/secret")), outside_);
  EXPECT_EQ(open(directories, at("images2/c")), outside_);
  EXPECT_EQ(open(directories, at("images")), outside_);
  EXPECT_EQ(open(directories, at("images/none")), errno_text(Errno(ENOENT)));
  EXPECT_EQ(open(directories, ""), errno_text(Errno(ENOENT)));
}

TEST_F(AllowedDirectoriesTest, LinksCountByTheirTarget) {
  link(at("outside/secret"), "images/escape");
  link("../outside", "images/escapes");
  link(at("images/a"), "images/inside");
  link(at("images"), "alias");
  const auto directories = allowed({at("alias")});
  EXPECT_EQ(open(directories, at("images/escape")), outside_);
  EXPECT_EQ(open(directories, at("images/escapes/secret")), outside_);
  EXPECT_EQ(open(directories, at("images/inside")), "");
  EXPECT_EQ(open(directories, at("alias/a")), "");
}

TEST_F(AllowedDirectoriesTest, ADirectoryStaysTheOneThatWasOpened) {
  const auto directories = allowed({at("images")});
  fs::rename(at("images"), at("moved"));
  fs::rename(at("outside"), at("images"));
  EXPECT_EQ(open(directories, at("images/secret")), errno_text(Errno(ENOENT)));
}

TEST_F(AllowedDirectoriesTest, EveryPathIsBeneathTheRoot) {
  EXPECT_EQ(open(allowed({"/"}), at("outside/secret")), "");
}

TEST_F(AllowedDirectoriesTest, APathThatIsNoDirectoryIsAnError) {
  auto missing = AllowedDirectories::open({at("none")});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message(), "Could not open directory '" + at("none") + "': No such file or directory");
  auto file = AllowedDirectories::open({at("images/a")});
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().message(), "Could not open directory '" + at("images/a") + "': Not a directory");
  EXPECT_FALSE(AllowedDirectories::open(std::vector<std::string>(AllowedDirectories::kDirectoriesMax + 1, "/")));
}

TEST_F(AllowedDirectoriesTest, AFileDriverKeepsThem) {
  const auto directories = allowed({at("images")});
  EXPECT_TRUE(run(FileDriver::open({.filename = at("images/a"), .beneath = &directories})));
  auto outside = run(FileDriver::open({.filename = at("outside/secret"), .beneath = &directories}));
  ASSERT_FALSE(outside);
  EXPECT_EQ(outside.error().message(), "Could not open '" + at("outside/secret") +
                                           "': an image names it, and it is in no directory of --image-references");
  auto directory = run(FileDriver::open({.filename = at("images/deep"), .read_only = true, .beneath = &directories}));
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().message(), "'file' driver requires '" + at("images/deep") + "' to be a regular file");
}

}  // namespace
}  // namespace blockexport::drivers
