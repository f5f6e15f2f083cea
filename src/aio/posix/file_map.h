// map_file(): the runs of data and holes of an open file, as the kernel tells them: FIEMAP where that can be trusted,
// lseek() elsewhere. May wait for the disk: for worker threads. Thread: any.
#pragma once

#include <cstdint>

#include "aio/file_map.h"

namespace blockexport::aio::posix {

// fstat(), and of a block device its capacity and block size. Zero or minus an errno.
std::int64_t stat_file(int fd, FileInfo& info);

// Adds the runs of [offset, offset + length), at least the first. Zero, or minus an errno when the file system does not
// tell; what was added is right.
std::int64_t map_file(int fd, std::uint64_t offset, std::uint64_t length, FileMap& map);

}  // namespace blockexport::aio::posix
