// map_file(): lists the runs of data and holes of an open file, by FIEMAP where that is exact, by lseek() elsewhere.
// May wait for the disk, so it is for worker threads. Thread: any.
#pragma once

#include <cstdint>

#include "aio/operation/file_map.h"

namespace blockexport::aio::posix {

// fstat(), and for a block device also its capacity and block size. Returns zero or minus an errno.
std::int64_t stat_file(int fd, FileInfo& info);

// Adds the runs of [offset, offset + length), at least the first. Returns zero, or minus an errno when the file system
// does not support it; runs added before that are correct.
std::int64_t map_file(int fd, std::uint64_t offset, std::uint64_t length, FileMap& map);

}  // namespace blockexport::aio::posix
