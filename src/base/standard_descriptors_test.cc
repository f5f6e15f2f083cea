// Each case runs in a child process, because the test program needs its own standard descriptors.
#include "base/standard_descriptors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace blockexport {
namespace {

// Runs `body` in a child process and returns its result; 0 means success.
int in_child(int (*body)()) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool is_null_device(int fd, int access) {
  struct stat status{};
  struct stat null{};
  if (fstat(fd, &status) != 0 || stat("/dev/null", &null) != 0) return false;
  return status.st_rdev == null.st_rdev && (fcntl(fd, F_GETFL) & O_ACCMODE) == access &&
         (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0;
}

TEST(StandardDescriptors, AreOpenedInEveryCombinationOfClosedOnes) {
  EXPECT_EQ(in_child([] {
              int ends[2];
              if (pipe(ends) != 0) return 100;
              for (int closed = 0; closed < 8; ++closed) {
                for (int fd = 0; fd < 3; ++fd) (closed >> fd & 1) != 0 ? close(fd) : dup2(ends[1], fd);
                open_standard_descriptors();
                for (int fd = 0; fd < 3; ++fd) {
                  const bool was_closed = (closed >> fd & 1) != 0;
                  if (is_null_device(fd, fd == 0 ? O_RDONLY : O_WRONLY) != was_closed) return 10 + closed;
                  if (fcntl(fd, F_GETFD) == -1) return 20 + closed;
                }
              }
              return 0;
            }),
            0);
}

TEST(StandardDescriptors, AFileThatWasHandedDownOnOneOfThemIsMoved) {
  EXPECT_EQ(in_child([] {
              int ends[2];
              if (pipe(ends) != 0 || dup2(ends[0], 0) != 0) return 1;
              const int moved = moved_from_standard_descriptors(0);
              if (moved < 3 || (fcntl(moved, F_GETFD) & FD_CLOEXEC) == 0) return 2;
              if (!is_null_device(0, O_RDONLY)) return 3;
              char byte = 0;
              if (write(ends[1], "x", 1) != 1 || read(moved, &byte, 1) != 1 || byte != 'x') return 4;
              return 0;
            }),
            0);
}

TEST(StandardDescriptors, OtherNumbersStayWhatTheyAre) {
  EXPECT_EQ(moved_from_standard_descriptors(3), 3);
  EXPECT_EQ(moved_from_standard_descriptors(-1), -1);
}

}  // namespace
}  // namespace blockexport
