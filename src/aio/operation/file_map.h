// FileMap and map_by_seeking(): the runs of data and holes of a file; one call on a worker thread returns thousands of
// them. A backend fills a FileMap in, the caller of Reactor::map() reads it. Plain values, any thread.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "aio/operation/file_info.h"

namespace blockexport::aio {

enum class FileRunKind : std::uint8_t {
  kData,
  kHole,   // reads as zeros and has no allocated space; a write allocates some, which changes FileInfo::allocated_bytes
  kZeros,  // reads as zeros; it may or may not have allocated space
};

// Eight bytes, since a map holds thousands.
struct FileRun {
  std::uint64_t length : 62;
  FileRunKind kind : 2;

  friend bool operator==(const FileRun&, const FileRun&) = default;
};

// Approximate maximum of the runs in the result of one map operation, and exact maximum of its range, which fits
// FileRun::length.
inline constexpr std::size_t kRunsPerMapMax = 4096;
inline constexpr std::uint64_t kMapBytesMax = std::uint64_t{1} << 60;

struct FileMap {
  std::vector<FileRun> runs;  // consecutive, from the requested offset on; neighbours may have the same kind
  FileInfo info;              // when `exact`: status of the file just before its runs were read
  // Size of the file when its runs were read. The range after it is reported as a hole or zeros.
  std::uint64_t file_bytes = UINT64_MAX;
  // The file system includes data that is not written back yet, and try_stat() never waits on it. A map that is not
  // exact may be outdated at once, and must not be cached.
  bool exact = false;
  // The map is exact, and its holes stay holes as long as the file's FileInfo equals `info`. False when the file
  // changed during the map, or so shortly before that the granularity of its timestamps may hide another change.
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

// Adds the runs of [offset, offset + length) to `map` until it has kRunsPerMapMax; ranges without data get the kind
// `empty`. `seek(offset, whence)` is lseek() that returns minus an errno on failure. Returns the end of the added runs,
// or minus an errno when the file system does not support SEEK_DATA; runs added before that are correct.
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
    // The file may have changed between the two calls.
    bool told = hole_start >= 0 && static_cast<std::uint64_t>(hole_start) > offset;
    std::uint64_t stop = told ? std::min(static_cast<std::uint64_t>(hole_start), end) : end;
    map.add(stop - offset, FileRunKind::kData);
    offset = stop;
  }
  return static_cast<std::int64_t>(offset);
}

}  // namespace blockexport::aio
