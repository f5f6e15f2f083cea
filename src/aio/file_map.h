// FileRun and map_file(): which parts of a file hold data, by SEEK_DATA and SEEK_HOLE, many at a time: one trip to a
// worker thread tells about a thousand runs.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <vector>

namespace blockexport::aio {

struct FileRun {
  std::uint64_t length;
  bool data;  // false: a hole
};

// Runs that one map operation gives at most.
inline constexpr std::size_t kRunsPerMapMax = 1024;

// Appends the runs of [offset, offset + length) to `runs`, up to kRunsPerMapMax. `seek(offset, whence)` is lseek() with
// minus an errno for a failure. Zero, or minus an errno when the file system does not tell; what was appended is right.
template <class Seek>
std::int64_t map_file(Seek seek, std::uint64_t offset, std::uint64_t length, std::vector<FileRun>& runs) {
  const std::uint64_t end = offset + length;
  while (offset < end && runs.size() < kRunsPerMapMax) {
    std::int64_t data_start = seek(offset, SEEK_DATA);
    if (data_start == -ENXIO) {
      runs.push_back({.length = end - offset, .data = false});
      return 0;
    }
    if (data_start < 0) return data_start;
    if (static_cast<std::uint64_t>(data_start) < offset) return -EOPNOTSUPP;
    if (static_cast<std::uint64_t>(data_start) > offset) {
      std::uint64_t stop = std::min(static_cast<std::uint64_t>(data_start), end);
      runs.push_back({.length = stop - offset, .data = false});
      offset = stop;
      continue;
    }
    std::int64_t hole_start = seek(offset, SEEK_HOLE);
    // Between the two calls the file may have changed.
    bool told = hole_start >= 0 && static_cast<std::uint64_t>(hole_start) > offset;
    std::uint64_t stop = told ? std::min(static_cast<std::uint64_t>(hole_start), end) : end;
    runs.push_back({.length = stop - offset, .data = true});
    offset = stop;
  }
  return 0;
}

}  // namespace blockexport::aio
