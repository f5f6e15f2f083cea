#include "net/unix_socket_file.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "aio/testing/backends.h"
#include "base/owned_fd.h"

namespace blockexport::net {
namespace {

namespace fs = std::filesystem;

// A socket bound to a path, like a Listener's.
struct Bound {
  OwnedFd socket;
  std::optional<UnixSocketFile> file;
  std::string error;
};

class UnixSocketFileTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name = "socket") const { return directory_.path() + "/" + name; }
  std::size_t names() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_.path()), {}));
  }
  static NumericAddress address(const std::string& path) { return *unix_address({.path = path}); }

  static Bound bind(const std::string& path, PathInUse path_in_use = PathInUse::kTakenOver) {
    Bound bound{.socket = OwnedFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), .file = {}, .error = {}};
    auto file = UnixSocketFile::bind(bound.socket.get(), path, address(path), path_in_use);
    if (!file) {
      bound.error = file.error().message();
    } else {
      bound.file.emplace(std::move(*file));
      EXPECT_EQ(::listen(bound.socket.get(), 8), 0);
    }
    return bound;
  }
  // Closes it in the order of a Listener.
  static void close(Bound& bound) {
    bound.file.reset();
    bound.socket.reset();
  }
  // True if a connection to the path reaches this socket.
  bool reaches(const Bound& bound) {
    OwnedFd caller(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const NumericAddress target = address(path());
    if (::connect(caller.get(), target.get(), target.length) != 0) return false;
    timeval soon{.tv_sec = 0, .tv_usec = 1};
    setsockopt(bound.socket.get(), SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    // Earlier probing connections may still be in the queue.
    bool reached = false;
    for (OwnedFd accepted(accept(bound.socket.get(), nullptr, nullptr)); accepted;
         accepted = OwnedFd(accept(bound.socket.get(), nullptr, nullptr))) {
      reached = true;
    }
    return reached;
  }

  aio::testing::TemporaryDirectory directory_;
};

TEST_F(UnixSocketFileTest, IsRemovedWithItsSocket) {
  Bound bound = bind(path());
  EXPECT_TRUE(reaches(bound));
  EXPECT_EQ(bound.file->replaced(), "");
  close(bound);
  EXPECT_EQ(names(), 0u);
}

TEST_F(UnixSocketFileTest, ADeadSocketGivesWayForGood) {
  Bound dead = bind(path());
  dead.file->keep();
  close(dead);
  ASSERT_EQ(names(), 1u);
  Bound bound = bind(path());
  EXPECT_EQ(bound.file->replaced(), "");
  EXPECT_TRUE(reaches(bound));
  close(bound);
  EXPECT_EQ(names(), 0u);
}

TEST_F(UnixSocketFileTest, OneThatAnswersGivesWayAndIsNamed) {
  Bound older = bind(path());
  Bound newer = bind(path());
  EXPECT_EQ(newer.file->replaced(), "this process");
  EXPECT_EQ(names(), 2u);
  newer.file->settle();
  EXPECT_EQ(names(), 1u);
  close(older);
  EXPECT_TRUE(reaches(newer));
}

TEST_F(UnixSocketFileTest, OneThatAnswersComesBackWhenTheNewerIsNotSettled) {
  Bound older = bind(path());
  Bound newer = bind(path());
  close(newer);
  EXPECT_EQ(names(), 1u);
  EXPECT_TRUE(reaches(older));
  close(older);
  EXPECT_EQ(names(), 0u);
}

TEST_F(UnixSocketFileTest, OneThatAnswersCanBeRefusedAndStays) {
  Bound older = bind(path());
  Bound refused = bind(path(), PathInUse::kRefused);
  EXPECT_EQ(refused.error, "Unix socket " + path() + " is in use: this process listens on it");
  EXPECT_EQ(names(), 1u);
  EXPECT_TRUE(reaches(older));
}

TEST_F(UnixSocketFileTest, OneWhoseOwnerHasEndedIsNeverRefused) {
  Bound dead = bind(path());
  dead.file->keep();
  close(dead);
  Bound bound = bind(path(), PathInUse::kRefused);
  EXPECT_EQ(bound.error, "");
  EXPECT_TRUE(reaches(bound));
}

TEST_F(UnixSocketFileTest, TheRefusalNamesTheOtherProcess) {
  int ready[2];
  int over[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(over), 0);
  const pid_t other = fork();
  if (other == 0) {
    Bound bound = bind(path());
    char byte = 0;
    const bool told = write(ready[1], &byte, 1) == 1;
    ::close(over[1]);
    _exit(told && read(over[0], &byte, 1) == 0 ? 0 : 1);
  }
  ::close(over[0]);
  char byte = 0;
  EXPECT_EQ(read(ready[0], &byte, 1), 1);
  Bound refused = bind(path(), PathInUse::kRefused);
  EXPECT_TRUE(
      refused.error.starts_with("Unix socket " + path() + " is in use: process " + std::to_string(other) + " (net"))
      << refused.error;
  ::close(over[1]);
  int status = -1;
  waitpid(other, &status, 0);
  EXPECT_EQ(status, 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(UnixSocketFileTest, TheNewestOfThreeKeepsThePath) {
  Bound first = bind(path());
  Bound second = bind(path());
  Bound third = bind(path());
  close(second);
  EXPECT_TRUE(reaches(third));
  third.file->settle();
  close(first);
  EXPECT_TRUE(reaches(third));
  EXPECT_EQ(names(), 1u);
}

TEST_F(UnixSocketFileTest, ASocketOfAnotherKindGivesWayAndComesBack) {
  OwnedFd other(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const NumericAddress target = address(path());
  ASSERT_EQ(::bind(other.get(), target.get(), target.length), 0);
  const ino_t inode = FileIdentity::of_path(path())->inode;
  Bound bound = bind(path());
  EXPECT_EQ(bound.file->replaced(), "another process");
  close(bound);
  EXPECT_EQ(FileIdentity::of_path(path())->inode, inode);
}

TEST_F(UnixSocketFileTest, WhatIsNoSocketIsNeverRemoved) {
  std::ofstream(path("file")) << "precious";
  fs::create_directory(path("directory"));
  ASSERT_EQ(mkfifo(path("fifo").c_str(), 0600), 0);
  fs::create_symlink(path("file"), path("link"));
  fs::create_symlink(path("nothing"), path("dangling"));
  for (const char* name : {"file", "fifo", "link", "dangling"}) {
    EXPECT_EQ(bind(path(name)).error, "Failed to unlink socket " + path(name) + ": it is not a socket");
  }
  EXPECT_EQ(bind(path("directory")).error, "Failed to unlink socket " + path("directory") + ": Is a directory");
  EXPECT_EQ(names(), 5u);
}

TEST_F(UnixSocketFileTest, ALinkToASocketGivesWayAsTheSocketWould) {
  Bound older = bind(path("real"));
  fs::create_symlink(path("real"), path());
  Bound newer = bind(path());
  EXPECT_EQ(newer.file->replaced(), "this process");
  EXPECT_TRUE(reaches(newer));
  close(newer);
  EXPECT_TRUE(fs::is_symlink(path()));
  EXPECT_TRUE(reaches(older));
}

TEST_F(UnixSocketFileTest, AFileThatTookThePathIsLeftAlone) {
  Bound bound = bind(path());
  unlink(path().c_str());
  std::ofstream(path()) << "somebody else's";
  close(bound);
  EXPECT_EQ(names(), 1u);
}

TEST_F(UnixSocketFileTest, AFailedBindPutsBackWhatGaveWay) {
  Bound older = bind(path());
  // A bound socket cannot be bound again.
  Bound other = bind(path("other"));
  auto again = UnixSocketFile::bind(other.socket.get(), path(), address(path()));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().message(), "Failed to bind socket to " + path() + ": Invalid argument");
  EXPECT_TRUE(reaches(older));
  EXPECT_EQ(names(), 2u);
}

TEST_F(UnixSocketFileTest, ThePathIsOpenToWhomTheUmaskSays) {
  const mode_t before = umask(027);
  Bound bound = bind(path());
  umask(before);
  struct stat status{};
  ASSERT_EQ(stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0750u);
}

}  // namespace
}  // namespace blockexport::net
