#include "base/standard_descriptors.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>

namespace blockexport {
namespace {

// A new descriptor, which has the lowest free number.
int open_nothing(int access) {
  const int fd = open("/dev/null", access);
  return fd >= 0 ? fd : open("/", O_PATH);
}

int access_of(int number) {
  return number == STDIN_FILENO ? O_RDONLY : O_WRONLY;
}

}  // namespace

void open_standard_descriptors() {
  // In ascending order, so that open(2), which returns the lowest free number, returns `number`.
  for (int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(number, F_GETFD) == -1 && errno == EBADF) (void)open_nothing(access_of(number));
  }
}

int moved_from_standard_descriptors(int fd) {
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  const int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (moved < 0) return -1;
  const int nothing = open_nothing(access_of(fd));
  if (nothing >= 0) {
    dup2(nothing, fd);
    close(nothing);
  }
  return moved;
}

}  // namespace blockexport
