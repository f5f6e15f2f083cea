// FileDriver's extents: what the file system says about holes.
#include <vector>

#include "aio/current.h"
#include "aio/file_map.h"
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
  aio::FileMap map;
  if (!no_seek_hole_.load(std::memory_order_relaxed)) {
    auto mapped = co_await reactor.map(fd_, range.offset, range.length, map);
    if (!mapped) no_seek_hole_.store(true, std::memory_order_relaxed);
  }
  block::Extents found;
  std::uint64_t at = range.offset;
  for (const aio::FileRun& run : map.runs) {
    // The few bytes by which the size was rounded up belong to the data before them.
    bool data = run.kind == aio::FileRunKind::kData;
    bool only_rounding = !data && at > 0 && at >= file_bytes_.load(std::memory_order_relaxed);
    append(found, run.length, data || only_rounding);
    at += run.length;
  }
  // A file system that does not tell has data everywhere.
  if (found.empty()) append(found, range.length, true);
  extents.insert(extents.end(), found.begin(), found.end());
  co_return IoResult();
}

}  // namespace blockexport::drivers
