#include "base/owned_path.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/owned_fd.h"

namespace blockexport {
namespace {

class OwnedPathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/bxd-owned-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name = "file") const { return directory_ + "/" + name; }
  bool exists(const std::string& name = "file") const { return access(path(name).c_str(), F_OK) == 0; }
  std::size_t names() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory_), {}));
  }
  // Creates a file that stays open as long as the test runs.
  OwnedPath make() {
    open_ = OwnedFd(open(path().c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
    return OwnedPath(path(), *FileIdentity::of_descriptor(open_.get()));
  }
  void replace() {
    unlink(path().c_str());
    std::ofstream(path()) << "somebody else's";
  }

  std::string directory_;
  OwnedFd open_;
};

TEST_F(OwnedPathTest, IsRemovedWhileItIsOurs) {
  OwnedPath owned = make();
  EXPECT_TRUE(owned.is_ours());
  owned.remove();
  EXPECT_FALSE(owned);
  EXPECT_EQ(names(), 0u);
}

TEST_F(OwnedPathTest, GoesWithItsOwner) {
  {
    OwnedPath owned = make();
  }
  EXPECT_EQ(names(), 0u);
}

TEST_F(OwnedPathTest, StaysWhenSomebodyElseHasTakenTheName) {
  OwnedPath owned = make();
  replace();
  EXPECT_FALSE(owned.is_ours());
  owned.remove();
  EXPECT_TRUE(exists());
  EXPECT_EQ(names(), 1u);
}

TEST_F(OwnedPathTest, IsNotLookedForWhenItIsGone) {
  OwnedPath owned = make();
  unlink(path().c_str());
  owned.remove();
  EXPECT_EQ(names(), 0u);
}

TEST_F(OwnedPathTest, CanBeLeftBehind) {
  make().keep();
  EXPECT_TRUE(exists());
}

TEST_F(OwnedPathTest, IsMovedToOneOwner) {
  OwnedPath one = make();
  OwnedPath other(std::move(one));
  one.remove();
  EXPECT_TRUE(exists());
  one = std::move(other);
  other.remove();
  EXPECT_TRUE(exists());
  one = OwnedPath();
  EXPECT_FALSE(exists());
}

TEST_F(OwnedPathTest, ALinkToOurFileIsNotOurName) {
  OwnedPath owned = make();
  std::filesystem::rename(path(), path("moved"));
  std::filesystem::create_symlink(path("moved"), path());
  owned.remove();
  EXPECT_EQ(names(), 2u);
}

TEST_F(OwnedPathTest, IsFoundFromAnotherWorkingDirectory) {
  char before[4096];
  ASSERT_NE(getcwd(before, sizeof before), nullptr);
  ASSERT_EQ(chdir(directory_.c_str()), 0);
  OwnedPath made = make();
  OwnedPath relative("file", *FileIdentity::of_path("file"));
  made.keep();
  ASSERT_EQ(chdir("/"), 0);
  EXPECT_EQ(relative.path(), path());
  relative.remove();
  ASSERT_EQ(chdir(before), 0);
  EXPECT_EQ(names(), 0u);
}

TEST_F(OwnedPathTest, ANameThatCannotBeMovedAsideIsRemoved) {
  // The name is so long that no suffix can be appended.
  const std::string longest = path(std::string(255, 'n'));
  open_ = OwnedFd(open(longest.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  OwnedPath owned(longest, *FileIdentity::of_descriptor(open_.get()));
  owned.remove();
  EXPECT_EQ(names(), 0u);
}

}  // namespace
}  // namespace blockexport
