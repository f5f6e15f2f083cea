#include "aio/file/directory_watch.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

class DirectoryWatchTest : public testing::ForEachBackend {
 protected:
  void SetUp() override {
    ForEachBackend::SetUp();
    if (IsSkipped()) return;
    if (simulated()) GTEST_SKIP() << "directories are the host's";
  }
  std::unique_ptr<DirectoryWatch> watch(const std::string& path) {
    auto made = create(path);
    EXPECT_TRUE(made);
    return made ? std::move(*made) : nullptr;
  }
  using Created = std::expected<std::unique_ptr<DirectoryWatch>, Errno>;
  static Task<void> create_into(Reactor& reactor, std::string path, Created& created) {
    created = co_await DirectoryWatch::create(reactor, std::move(path));
  }
  Created create(const std::string& path) {
    Created created = fail(EINVAL);
    run(create_into(reactor(), path, created));
    return created;
  }
  static Task<void> wait(DirectoryWatch& watch, IoResult& result) { result = co_await watch.changed(); }
  // The result of the next wait.
  IoResult next(DirectoryWatch& watch) {
    IoResult result;
    run(wait(watch, result));
    return result;
  }
  // Waits, and cancels the wait: with no change pending the result is ECANCELED.
  static Task<void> cancelled_wait(Reactor& reactor, DirectoryWatch& watch, IoResult& result) {
    Scope scope(reactor);
    scope.spawn("wait", wait(watch, result));
    scope.cancel();
    co_await scope.join();
  }
  bool is_quiet(DirectoryWatch& watch) {
    IoResult result;
    run(cancelled_wait(reactor(), watch, result));
    return result == IoResult(fail(ECANCELED));
  }
  static void write(const std::string& path, const char* text) { std::ofstream(path) << text; }

  testing::TemporaryDirectory directory_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(DirectoryWatchTest);

TEST_P(DirectoryWatchTest, TellsOfAFileThatIsWritten) {
  auto watched = watch(directory_.path());
  EXPECT_TRUE(is_quiet(*watched));
  write(directory_.path() + "/a", "x");
  EXPECT_TRUE(next(*watched));
  EXPECT_TRUE(is_quiet(*watched));
}

TEST_P(DirectoryWatchTest, TellsOfARenameAndARemoval) {
  write(directory_.path() + "/a", "x");
  auto watched = watch(directory_.path());
  ASSERT_EQ(rename((directory_.path() + "/a").c_str(), (directory_.path() + "/b").c_str()), 0);
  EXPECT_TRUE(next(*watched));
  EXPECT_TRUE(is_quiet(*watched));
  ASSERT_EQ(unlink((directory_.path() + "/b").c_str()), 0);
  EXPECT_TRUE(next(*watched));
}

TEST_P(DirectoryWatchTest, ManyChangesAreOneNewsOrAFew) {
  auto watched = watch(directory_.path());
  for (int i = 0; i < 50; ++i) write(directory_.path() + "/a", "x");
  int news = 0;
  while (!is_quiet(*watched)) ++news;
  EXPECT_GE(news, 1);
  EXPECT_LE(news, 3);
}

TEST_P(DirectoryWatchTest, SaysThatTheDirectoryItselfWent) {
  std::string inner = directory_.path() + "/inner";
  ASSERT_EQ(mkdir(inner.c_str(), 0700), 0);
  auto watched = watch(inner);
  ASSERT_EQ(rmdir(inner.c_str()), 0);
  EXPECT_EQ(next(*watched), IoResult(fail(ENOENT)));
}

TEST_P(DirectoryWatchTest, OnlyADirectoryCanBeWatched) {
  write(directory_.path() + "/a", "x");
  EXPECT_EQ(create(directory_.path() + "/a").error(), Errno(ENOTDIR));
  EXPECT_EQ(create(directory_.path() + "/none").error(), Errno(ENOENT));
}

}  // namespace
}  // namespace blockexport::aio
