// FileInfo: status of an open file, as Reactor::stat() reports it. Plain values; any thread.
#pragma once

#include <cstdint>

namespace blockexport::aio {

struct FileInfo {
  std::uint64_t size_bytes = 0;       // of a block device: its capacity
  std::uint64_t allocated_bytes = 0;  // st_blocks * 512
  std::uint32_t type = 0;             // st_mode & S_IFMT
  std::uint32_t block_bytes = 0;      // st_blksize, or the device's logical block size
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t device_number = 0;  // st_rdev: of a device, its own number
  std::int64_t modified_ns = 0;     // st_mtim
  std::int64_t changed_ns = 0;      // st_ctim
  // Set by kStat only, from the file system:
  bool in_memory = false;           // the file system is in memory (tmpfs)
  bool drops_direct_syncs = false;  // does not sync an asynchronous direct write with RWF_DSYNC (FUSE)

  friend bool operator==(const FileInfo&, const FileInfo&) = default;
};

}  // namespace blockexport::aio
