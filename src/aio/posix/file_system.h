// lives_in_memory() and drops_direct_syncs(): what kind of file system an open file is on.
// They ask the kernel, and wait where the file system does (a network). Any thread.
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

// Linux syncs such a write of FUSE only in the call that began it; one that ends later, as a ring's does, is not synced
// (seen with Linux 6.18).
inline bool drops_direct_syncs(int fd) {
  struct statfs status{};
  if (fstatfs(fd, &status) != 0) return false;
  return status.f_type == FUSE_SUPER_MAGIC;
}

}  // namespace blockexport::aio::posix
