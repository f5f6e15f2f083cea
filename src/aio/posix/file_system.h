// lives_in_memory(): what kind of file system an open file is on.
// It asks the kernel, and waits where the file system does (a network). Any thread.
#pragma once

#include <linux/magic.h>
#include <sys/vfs.h>

namespace blockexport::aio::posix {

// tmpfs and its like: there is no disk that a read could wait for, only swap.
inline bool lives_in_memory(int fd) {
  struct statfs status{};
  if (fstatfs(fd, &status) != 0) return false;
  return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC;
}

}  // namespace blockexport::aio::posix
