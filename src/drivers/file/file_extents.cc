// FileDriver's extents: what the file system says about holes.
#include <unistd.h>

#include <algorithm>

#include "aio/current.h"
#include "aio/reactor.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

void append(block::Extents& extents, std::uint64_t length, bool data) {
  if (!extents.empty() && extents.back().data == data) {
    extents.back().length += length;
  } else {
    extents.push_back(block::Extent{.length = length, .data = data, .zero = !data});
  }
}

}  // namespace

aio::Task<IoResult> FileDriver::extents(block::Range range, block::Extents& extents) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  block::Extents found;
  std::uint64_t at = range.offset;
  while (at < range.end() && found.size() < block::kExtentsPerCallMax &&
         !no_seek_hole_.load(std::memory_order_relaxed)) {
    auto data_start = co_await reactor.seek(fd_, at, SEEK_DATA);
    if (!data_start && data_start.error() == Errno(ENXIO)) {
      // No more data. The few bytes by which the size was rounded up belong to the data before them.
      bool only_rounding = at >= file_bytes_.load(std::memory_order_relaxed) && at > 0;
      append(found, range.end() - at, only_rounding);
      at = range.end();
      break;
    }
    if (!data_start || *data_start < at) {
      no_seek_hole_.store(true, std::memory_order_relaxed);
      break;
    }
    if (*data_start > at) {
      std::uint64_t end = std::min(*data_start, range.end());
      append(found, end - at, false);
      at = end;
      continue;
    }
    auto hole_start = co_await reactor.seek(fd_, at, SEEK_HOLE);
    // Between the two calls the file may have changed.
    std::uint64_t end = hole_start && *hole_start > at ? std::min(*hole_start, range.end()) : range.end();
    append(found, end - at, true);
    at = end;
  }
  // A file system that does not tell has data everywhere.
  if (found.empty()) append(found, range.length, true);
  extents.insert(extents.end(), found.begin(), found.end());
  co_return IoResult();
}

}  // namespace blockexport::drivers
