#include "base/file_exposure.h"

#include <gtest/gtest.h>

namespace blockexport {
namespace {

constexpr uid_t kUs = 1000;
constexpr uid_t kSomebody = 1234;

std::string exposure(mode_t mode, uid_t owner = kUs, FileSecrecy secrecy = FileSecrecy::kPrivate,
                     const std::string& path = "/d/key.pem") {
  struct stat status{};
  status.st_mode = S_IFREG | mode;
  status.st_uid = owner;
  status.st_nlink = 1;
  return find_exposure(path, status, secrecy, kUs).value_or("");
}

TEST(FileExposure, AFileOfOursOrOfRootsThatAGroupMayReadIsFine) {
  for (mode_t mode : {0400, 0600, 0440, 0640}) {
    EXPECT_EQ(exposure(mode), "");
    EXPECT_EQ(exposure(mode, 0), "");
  }
}

TEST(FileExposure, AKeyThatOthersCanOpenIsToldWithTheChmod) {
  for (mode_t mode : {0604, 0602, 0601, 0620, 0644, 0666}) EXPECT_NE(exposure(mode), "") << mode;
  EXPECT_EQ(exposure(0644), "its mode 0644 lets other users read the key; fix it with: chmod 600 /d/key.pem");
}

TEST(FileExposure, AKeyOfSomebodyElseIsToldWithTheChown) {
  EXPECT_EQ(exposure(0640, kSomebody),
            "it belongs to user 1234, who is neither root nor us; fix it with: chown 1000 /d/key.pem");
  EXPECT_EQ(
      exposure(0644, kSomebody),
      "its mode 0644 lets other users read the key, and it belongs to user 1234, who is neither root nor us; fix it "
      "with: chown 1000 /d/key.pem && chmod 600 /d/key.pem");
}

TEST(FileExposure, WhoReadsByThePermissionsOfOthersCanStillReadAfterwards) {
  EXPECT_EQ(exposure(0644, 0),
            "its mode 0644 lets other users read the key; fix it with: chown 1000 /d/key.pem && chmod 600 /d/key.pem");
}

TEST(FileExposure, APublicFileMayBeReadByAllAndChangedByFew) {
  for (mode_t mode : {0644, 0664, 0444}) EXPECT_EQ(exposure(mode, kSomebody, FileSecrecy::kPublic), "");
  EXPECT_EQ(exposure(0666, kUs, FileSecrecy::kPublic),
            "its mode 0666 lets everybody change what is trusted; fix it with: chmod o-w /d/key.pem");
}

TEST(FileExposure, WhatHasNoNameOrIsNoFileIsNotJudged) {
  struct stat status{};
  status.st_mode = S_IFREG | 0777;
  EXPECT_FALSE(find_exposure("/dev/fd/3", status, FileSecrecy::kPrivate, kUs));
  status.st_mode = S_IFIFO | 0666;
  status.st_nlink = 1;
  EXPECT_FALSE(find_exposure("/dev/fd/3", status, FileSecrecy::kPrivate, kUs));
}

TEST(FileExposure, PathsAreQuotedForAShell) {
  EXPECT_EQ(shell_word("/etc/pki/qemu-1.0/server_key.pem"), "/etc/pki/qemu-1.0/server_key.pem");
  EXPECT_EQ(shell_word("/my keys/a'b"), "'/my keys/a'\\''b'");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_TRUE(exposure(0644, kUs, FileSecrecy::kPrivate, "/my keys/k").ends_with("chmod 600 '/my keys/k'"));
}

}  // namespace
}  // namespace blockexport
