#include "base/absolute_path.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace blockexport {
namespace {

// A private working directory for the length of a test.
class AbsolutePathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/bxd-path-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
    ASSERT_NE(getcwd(before_, sizeof before_), nullptr);
    ASSERT_EQ(chdir(pattern), 0);
  }
  void TearDown() override {
    ASSERT_EQ(chdir(before_), 0);
    rmdir(directory_.c_str());
  }

  std::string directory_;
  char before_[4096];
};

TEST_F(AbsolutePathTest, StandsBehindTheWorkingDirectory) {
  EXPECT_EQ(absolute_path("disk.img"), directory_ + "/disk.img");
  EXPECT_EQ(absolute_path("./a/../b"), directory_ + "/./a/../b");
}

TEST_F(AbsolutePathTest, DoesNotChangeWhatIsAbsoluteOrEmpty) {
  EXPECT_EQ(absolute_path("/run/disk.img"), "/run/disk.img");
  EXPECT_EQ(absolute_path(""), "");
}

TEST_F(AbsolutePathTest, HasOneSlashBehindTheRootDirectory) {
  ASSERT_EQ(chdir("/"), 0);
  EXPECT_EQ(absolute_path("run/disk.img"), "/run/disk.img");
}

TEST_F(AbsolutePathTest, LeavesThePathAloneWhenTheDirectoryWasRemoved) {
  ASSERT_EQ(rmdir(directory_.c_str()), 0);
  EXPECT_EQ(absolute_path("disk.img"), "disk.img");
}

}  // namespace
}  // namespace blockexport
