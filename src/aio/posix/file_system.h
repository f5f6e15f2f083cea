// lives_in_memory() and drops_direct_syncs(): properties of the file system of an open file. They call fstatfs(2),
// which may wait for a network file system. Any thread.
#pragma once

#include <linux/magic.h>
#include <sys/vfs.h>

namespace blockexport::aio::posix {

// True if it is tmpfs or ramfs: a read can wait for swap, but not for a disk.
inline bool lives_in_memory(int fd) {
  struct statfs status{};
  if (fstatfs(fd, &status) != 0) return false;
  return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC;
}

// True if asynchronous direct writes with RWF_DSYNC are not synced: on FUSE, Linux syncs such a write only when it ends
// inside the system call, which a ring's does not (observed with Linux 6.18).
inline bool drops_direct_syncs(int fd) {
  struct statfs status{};
  if (fstatfs(fd, &status) != 0) return false;
  return status.f_type == FUSE_SUPER_MAGIC;
}

}  // namespace blockexport::aio::posix
