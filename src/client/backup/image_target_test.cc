#include "client/backup/image_target.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

namespace blockexport::backup {
namespace {

constexpr std::uint64_t kBlock = 64 << 10;

class ImageTargetTest : public ::testing::Test {
 protected:
  ImageTargetTest() {
    char pattern[] = "/tmp/image_target_XXXXXX";
    folder_ = ::mkdtemp(pattern);
  }
  ~ImageTargetTest() override {
    for (const char* name : {"image", "image.partial", "link"}) ::unlink(path(name).c_str());
    ::rmdir(folder_.c_str());
  }
  std::string path(std::string_view name) const { return folder_ + "/" + std::string(name); }
  void write_image(std::string_view text) const { ASSERT_TRUE(write_small_file(path("image"), text)); }
  std::string text_of(std::string_view name) const {
    const auto text = read_small_file(path(name), 1 << 20);
    return text && *text ? **text : "none";
  }
  Result<ImageTarget> open(std::string_view name, bool overwrites) const {
    return ImageTarget::open({.path = path(name), .size_bytes = 4, .overwrites = overwrites, .is_resumed = false});
  }

  std::string folder_;
};

TEST_F(ImageTargetTest, AnImageHasItsNameWhenItIsComplete) {
  auto target = open("image", false);
  ASSERT_TRUE(target);
  ASSERT_TRUE(target->sparse().write(0, std::as_bytes(std::span("data", 4))));
  EXPECT_EQ(text_of("image"), "none");
  ASSERT_TRUE(target->commit());
  EXPECT_EQ(text_of("image"), "data");
  EXPECT_EQ(text_of("image.partial"), "none");
}

TEST_F(ImageTargetTest, AnExistingFileNeedsPermission) {
  write_image("old");
  EXPECT_FALSE(open("image", false));
  auto target = open("image", true);
  ASSERT_TRUE(target);
  EXPECT_EQ(text_of("image"), "old");
  ASSERT_TRUE(::chmod(path("image").c_str(), 0600) == 0);
  ASSERT_TRUE(target->commit());
  struct stat status{};
  ASSERT_EQ(::stat(path("image").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_EQ(status.st_size, 4);
}

TEST_F(ImageTargetTest, AFileThatAppearsMeanwhileIsKept) {
  auto target = open("image", false);
  ASSERT_TRUE(target);
  write_image("new");
  EXPECT_FALSE(target->commit());
  EXPECT_EQ(text_of("image"), "new");
}

TEST_F(ImageTargetTest, ALinkIsFollowed) {
  write_image("old");
  ASSERT_EQ(::symlink("image", path("link").c_str()), 0);
  auto target = open("link", true);
  ASSERT_TRUE(target);
  ASSERT_TRUE(target->commit());
  EXPECT_EQ(text_of("image").size(), 4u);
  struct stat status{};
  ASSERT_EQ(::lstat(path("link").c_str(), &status), 0);
  EXPECT_TRUE(S_ISLNK(status.st_mode));
}

TEST_F(ImageTargetTest, ASecondWriterAndAFolderAreRefused) {
  const auto first = open("image", false);
  ASSERT_TRUE(first);
  EXPECT_FALSE(open("image", false));
  EXPECT_FALSE(open("", true));
}

TEST_F(ImageTargetTest, ADiscardedImageLeavesNothing) {
  auto target = open("image", false);
  ASSERT_TRUE(target);
  target->discard();
  EXPECT_EQ(text_of("image.partial"), "none");
}

TEST_F(ImageTargetTest, BlocksOfZeroesAreNotWrittenToAFreshFile) {
  auto file = open_file(path("image"), O_RDWR | O_CREAT);
  ASSERT_TRUE(file);
  SparseFile sparse(std::move(*file), true, false);
  std::vector<std::byte> bytes(4 * kBlock);
  bytes[kBlock] = std::byte{1};
  ASSERT_TRUE(sparse.write(0, bytes));
  // The blocks behind the data were not written, so the file ends with the data.
  EXPECT_EQ(size_of(sparse.file()).value(), 2 * kBlock);
  EXPECT_TRUE(sparse.reads_as_zeroes(0, kBlock).value());
  EXPECT_FALSE(sparse.reads_as_zeroes(0, 2 * kBlock).value());
  EXPECT_TRUE(sparse.reads_as_zeroes(2 * kBlock, kBlock).value());
}

TEST_F(ImageTargetTest, OldDataIsOverwrittenWithZeroes) {
  write_image(std::string(3 * kBlock, 'x'));
  auto file = open_file(path("image"), O_RDWR);
  ASSERT_TRUE(file);
  SparseFile sparse(std::move(*file), false, false);
  ASSERT_TRUE(sparse.zero(kBlock - 7, kBlock));
  ASSERT_TRUE(sparse.write(2 * kBlock, std::vector<std::byte>(kBlock)));
  EXPECT_EQ(text_of("image").substr(kBlock - 8, 2), std::string("x\0", 2));
  EXPECT_TRUE(sparse.reads_as_zeroes(kBlock - 7, kBlock).value());
  EXPECT_TRUE(sparse.reads_as_zeroes(2 * kBlock, kBlock).value());
  EXPECT_FALSE(sparse.reads_as_zeroes(kBlock - 8, 1).value());
}

}  // namespace
}  // namespace blockexport::backup
