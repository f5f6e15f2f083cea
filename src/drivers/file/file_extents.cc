// FileDriver's extents: what the file system says about holes, and what is remembered of it.
#include <algorithm>
#include <utility>

#include "aio/current.h"
#include "aio/file_map.h"
#include "aio/reactor.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

using block::Range;

// How far the file system is asked when much of what it says will be remembered.
constexpr std::uint64_t kMapWindowBytes = 1u << 30;

std::uint64_t bytes_of(const std::vector<aio::FileRun>& runs) {
  std::uint64_t bytes = 0;
  for (const aio::FileRun& run : runs) bytes += run.length;
  return bytes;
}

// Appends the first `length` bytes that `runs` tell of, or what one call takes of them.
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

// Another process has cut the file short: to read what it took is an error, which zeroes would hide.
void tell_lost_part_as_data(Range window, aio::FileMap& map) {
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
  // Behind the end are only the few bytes by which the size was rounded up.
  const std::uint64_t file_bytes = file_bytes_.load(std::memory_order_relaxed);
  if (range.offset < file_bytes && !no_seek_hole_.load(std::memory_order_relaxed)) {
    const Range window = map_window(range);
    const ExtentCache::Look look = extents_.begin_look();
    auto mapped = co_await reactor.map(fd_, window.offset, window.length, map);
    if (!mapped) no_seek_hole_.store(true, std::memory_order_relaxed);
    if (map.file_bytes < window.offset + bytes_of(map.runs)) tell_lost_part_as_data(window, map);
    // They belong to what is before them.
    if (window.offset + bytes_of(map.runs) == file_bytes) map.add(size_bytes() - file_bytes, map.runs.back().kind);
    // To look further than asked pays as long as at least half of what is seen is news to be remembered. Of a file that
    // somebody keeps writing to that is its data, the first time; of what is known, or cannot be, as much as is asked.
    const std::uint64_t learnt = map.exact ? extents_.store(look, window.offset, map) : 0;
    look_ahead_.store(learnt > 0 && learnt >= bytes_of(map.runs) / 2, std::memory_order_relaxed);
  }
  // A file system that does not tell has data everywhere.
  if (map.runs.empty()) map.add(std::min(range.length, aio::kMapBytesMax), aio::FileRunKind::kData);
  append(extents, map.runs, range.length);
  co_return IoResult();
}

IoResult FileDriver::try_extents(aio::Reactor& reactor, Range range, block::Extents& extents) {
  if (!extents_.may_know()) return fail(EAGAIN);
  const ExtentCache::Look look = extents_.begin_look();
  aio::FileInfo now;
  if (!reactor.try_stat(fd_, now)) return fail(EAGAIN);
  return extents_.find(look, now, range, extents);
}

}  // namespace blockexport::drivers
