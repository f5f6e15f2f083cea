// FileMap and map_by_seeking(): which parts of a file hold data, many at a time: one trip to a worker thread tells
// about thousands of runs. Filled in by the kernel's side of a reactor, read by who asked; plain values, any thread.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "aio/file_info.h"

namespace blockexport::aio {

enum class FileRunKind : std::uint8_t {
  kData,
  kHole,   // reads as zeros and has no space: to hold data it must get some, which FileInfo::allocated_bytes shows
  kZeros,  // reads as zeros; whether it has space is not known
};

// Eight bytes, since thousands are handed on at a time.
struct FileRun {
  std::uint64_t length : 62;
  FileRunKind kind : 2;

  friend bool operator==(const FileRun&, const FileRun&) = default;
};

// Runs that one map operation gives at most, but for a few; and bytes that it looks at, a length that a run can have.
inline constexpr std::size_t kRunsPerMapMax = 4096;
inline constexpr std::uint64_t kMapBytesMax = std::uint64_t{1} << 60;

struct FileMap {
  std::vector<FileRun> runs;  // consecutive, from the offset asked for; neighbours may be of one kind
  FileInfo info;              // when `exact`: of the file just before its runs were looked at
  // The size of the file at that time. What lies behind it is told as empty.
  std::uint64_t file_bytes = UINT64_MAX;
  // From a file system that knows of what waits for its disk too, and on which try_stat() never waits. What another one
  // tells holds at that moment only, and is not to be remembered.
  bool exact = false;
  // Exact, and as long as the file's FileInfo is this one, its holes are holes. What came to pass while it was looked
  // at, or so shortly before that a clock tick may hide a change, does not last.
  bool lasting = false;

  void add(std::uint64_t length, FileRunKind kind) {
    if (length == 0) return;
    if (!runs.empty() && runs.back().kind == kind) {
      runs.back().length += length;
    } else {
      runs.push_back({.length = length, .kind = kind});
    }
  }
};

// Adds the runs of [offset, offset + length) to `map` until it has kRunsPerMapMax; what is no data is `empty`.
// `seek(offset, whence)` is lseek() with minus an errno for a failure. The end of what was added, or minus an errno
// when the file system does not tell; what was added is right.
template <class Seek>
std::int64_t map_by_seeking(Seek seek, std::uint64_t offset, std::uint64_t length, FileRunKind empty, FileMap& map) {
  const std::uint64_t end = offset + length;
  while (offset < end && map.runs.size() < kRunsPerMapMax) {
    std::int64_t data_start = seek(offset, SEEK_DATA);
    if (data_start == -ENXIO) {
      map.add(end - offset, empty);
      return static_cast<std::int64_t>(end);
    }
    if (data_start < 0) return data_start;
    if (static_cast<std::uint64_t>(data_start) < offset) return -EOPNOTSUPP;
    if (static_cast<std::uint64_t>(data_start) > offset) {
      std::uint64_t stop = std::min(static_cast<std::uint64_t>(data_start), end);
      map.add(stop - offset, empty);
      offset = stop;
      continue;
    }
    std::int64_t hole_start = seek(offset, SEEK_HOLE);
    // Between the two calls the file may have changed.
    bool told = hole_start >= 0 && static_cast<std::uint64_t>(hole_start) > offset;
    std::uint64_t stop = told ? std::min(static_cast<std::uint64_t>(hole_start), end) : end;
    map.add(stop - offset, FileRunKind::kData);
    offset = stop;
  }
  return static_cast<std::int64_t>(offset);
}

}  // namespace blockexport::aio
