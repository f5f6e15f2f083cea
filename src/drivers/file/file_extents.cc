// FileDriver's extents: queries of the file system for holes, and their cache.
#include <algorithm>
#include <utility>

#include "aio/operation/file_map.h"
#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

using block::Range;

// Range of one query when the cache can keep much of its result.
constexpr std::uint64_t kMapWindowBytes = 1u << 30;

std::uint64_t bytes_of(const std::vector<aio::FileRun>& runs) {
  std::uint64_t bytes = 0;
  for (const aio::FileRun& run : runs) bytes += run.length;
  return bytes;
}

// Appends the first `length` bytes of `runs`, up to the extents of one call.
void append(block::Extents& extents, const std::vector<aio::FileRun>& runs, std::uint64_t length) {
  const std::size_t first = extents.size();
  for (const aio::FileRun& run : runs) {
    if (length == 0) return;
    const std::uint64_t step = std::min<std::uint64_t>(run.length, length);
    const bool data = run.kind == aio::FileRunKind::kData;
    if (extents.size() > first && extents.back().data == data) {
      extents.back().length += step;
    } else if (extents.size() - first == block::kExtentsPerCallMax) {
      return;
    } else {
      extents.push_back({.length = step, .data = data, .zero = !data});
    }
    length -= step;
  }
}

// Another process has truncated the file. Reads of the missing part fail with EIO, so it is reported as data: a hole
// would hide the error.
void report_lost_part_as_data(Range window, aio::FileMap& map) {
  std::uint64_t left = map.file_bytes > window.offset ? map.file_bytes - window.offset : 0;
  const std::uint64_t told = bytes_of(map.runs);
  for (std::vector<aio::FileRun> runs = std::exchange(map.runs, {}); const aio::FileRun& run : runs) {
    const std::uint64_t there = std::min<std::uint64_t>(run.length, left);
    map.add(there, run.kind);
    left -= there;
  }
  map.add(told - bytes_of(map.runs), aio::FileRunKind::kData);
  map.exact = false;
}

}  // namespace

Range FileDriver::map_window(Range range) const {
  std::uint64_t file_bytes = file_bytes_.load(std::memory_order_relaxed);
  std::uint64_t length = range.length;
  if (look_ahead_.load(std::memory_order_relaxed)) length = std::max(length, kMapWindowBytes);
  return {range.offset, std::min(length, file_bytes - range.offset)};
}

aio::Task<IoResult> FileDriver::extents(Range range, block::Extents& extents) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  if (try_extents(reactor, range, extents)) co_return IoResult();
  aio::FileMap map;
  // Only the few bytes by which the size was rounded up lie behind the end.
  const std::uint64_t file_bytes = file_bytes_.load(std::memory_order_relaxed);
  if (range.offset < file_bytes && !no_seek_hole_.load(std::memory_order_relaxed)) {
    const Range window = map_window(range);
    const ExtentCache::Observation observation = extents_.begin_observation();
    auto mapped = co_await reactor.map(fd_, window.offset, window.length, map);
    if (!mapped) no_seek_hole_.store(true, std::memory_order_relaxed);
    if (map.file_bytes < window.offset + bytes_of(map.runs)) report_lost_part_as_data(window, map);
    // Those bytes get the kind of the last run before them.
    if (window.offset + bytes_of(map.runs) == file_bytes) map.add(size_bytes() - file_bytes, map.runs.back().kind);
    // Querying further than requested pays while the cache did not yet have at least half of the result. In a file that
    // is written all the time those are its data, the first time. When the result is in the cache already, or cannot be
    // cached, queries cover only the requested range.
    const std::uint64_t bytes_added = map.exact ? extents_.store(observation, window.offset, map) : 0;
    look_ahead_.store(bytes_added > 0 && bytes_added >= bytes_of(map.runs) / 2, std::memory_order_relaxed);
  }
  // A file system without SEEK_HOLE counts as data everywhere.
  if (map.runs.empty()) map.add(std::min(range.length, aio::kMapBytesMax), aio::FileRunKind::kData);
  append(extents, map.runs, range.length);
  co_return IoResult();
}

IoResult FileDriver::try_extents(aio::Reactor& reactor, Range range, block::Extents& extents) {
  if (!extents_.may_know()) return fail(EAGAIN);
  const ExtentCache::Observation observation = extents_.begin_observation();
  aio::FileInfo now;
  if (!reactor.try_stat(fd_, now)) return fail(EAGAIN);
  return extents_.find(observation, now, range, extents);
}

}  // namespace blockexport::drivers
