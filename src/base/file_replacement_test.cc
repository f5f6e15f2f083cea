#include "base/file_replacement.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <vector>

namespace blockexport {
namespace {

// A disk that keeps after a power cut what was flushed before, and any part of the rest.
class VolatileDisk final : public ReplacementCalls {
 public:
  explicit VolatileDisk(int calls) : calls_left_(calls) {}

  IoResult write_new(std::string_view bytes) override {
    if (!is_on()) return std::unexpected(Errno(EIO));
    new_ = bytes;
    flushed_new_ = false;
    return {};
  }
  IoResult flush_new() override {
    if (!is_on()) return std::unexpected(Errno(EIO));
    flushed_new_ = true;
    return {};
  }
  IoResult rename_new() override {
    if (!is_on()) return std::unexpected(Errno(EIO));
    renamed_ = true;
    return {};
  }
  IoResult flush_directory() override {
    if (!is_on()) return std::unexpected(Errno(EIO));
    flushed_directory_ = true;
    return {};
  }

  // All contents that the file may have after a power cut.
  std::vector<std::string> contents(const std::string& before) const {
    std::vector<std::string> all;
    if (!flushed_directory_) all.push_back(before);
    if (renamed_) all.push_back(new_);
    // The rename may be durable before the bytes are.
    if (renamed_ && !flushed_new_) all.insert(all.end(), {"", new_.substr(0, new_.size() / 2)});
    return all;
  }

 private:
  bool is_on() { return calls_left_-- > 0; }

  int calls_left_;
  std::string new_;
  bool flushed_new_ = false;
  bool renamed_ = false;
  bool flushed_directory_ = false;
};

TEST(FileReplacementTest, APowerCutLeavesTheOldContentOrTheNewOne) {
  for (int calls = 0; calls <= 5; ++calls) {
    VolatileDisk disk(calls);
    const Result<> replaced = replace_file(disk, "file", "new content");
    EXPECT_EQ(replaced.has_value(), calls >= 4) << calls;
    for (const std::string& content : disk.contents("old content")) {
      EXPECT_TRUE(content == "old content" || content == "new content") << calls << ": " << content;
      if (replaced) EXPECT_EQ(content, "new content");
    }
  }
}

class FileInDirectoryTest : public testing::Test {
 protected:
  FileInDirectoryTest() {
    std::string pattern = testing::TempDir() + "replacement.XXXXXX";
    path_ = mkdtemp(pattern.data());
    directory_ = OwnedFd(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  ~FileInDirectoryTest() override { std::filesystem::remove_all(path_); }

  Result<> replace(std::string_view bytes) {
    FileInDirectory file(directory_.get(), "file");
    return replace_file(file, path_ + "/file", bytes);
  }
  std::string content() const {
    std::ifstream file(path_ + "/file");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string path_;
  OwnedFd directory_;
};

TEST_F(FileInDirectoryTest, CreatesAndReplaces) {
  ASSERT_TRUE(replace("one"));
  EXPECT_EQ(content(), "one");
  const std::string large(3u << 20, 'x');
  ASSERT_TRUE(replace(large));
  EXPECT_EQ(content(), large);
  struct stat status{};
  ASSERT_EQ(stat((path_ + "/file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  EXPECT_FALSE(std::filesystem::exists(path_ + "/file.new"));
}

TEST_F(FileInDirectoryTest, ReplacesWhatACrashHasLeft) {
  std::ofstream(path_ + "/file.new") << "a long text that a crash has left";
  ASSERT_TRUE(replace("short"));
  EXPECT_EQ(content(), "short");
}

TEST_F(FileInDirectoryTest, FollowsNoLinkAndWaitsForNoPipe) {
  ASSERT_TRUE(replace("old"));
  std::filesystem::create_symlink(path_ + "/elsewhere", path_ + "/file.new");
  EXPECT_FALSE(replace("new"));
  EXPECT_FALSE(std::filesystem::exists(path_ + "/elsewhere"));
  std::filesystem::remove(path_ + "/file.new");
  ASSERT_EQ(mkfifo((path_ + "/file.new").c_str(), 0600), 0);
  EXPECT_FALSE(replace("new"));
  EXPECT_EQ(content(), "old");
}

}  // namespace
}  // namespace blockexport
