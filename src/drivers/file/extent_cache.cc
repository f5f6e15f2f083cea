#include "drivers/file/extent_cache.h"

#include <cassert>

namespace blockexport::drivers {

IoResult ExtentCache::find(const aio::FileInfo& now, block::Range range, block::Extents& extents) {
  std::lock_guard guard(mutex_);
  if (now != info_) {
    extents_.clear();
    knows_.store(false, std::memory_order_release);
    return fail(EAGAIN);
  }
  std::size_t before = extents.size();
  extents_.find(range, extents);
  if (extents.size() == before) return fail(EAGAIN);
  return {};
}

void ExtentCache::store(std::uint64_t offset, const aio::FileMap& map) {
  assert(map.lasting);
  std::lock_guard guard(mutex_);
  if (map.info != info_) extents_.clear();
  info_ = map.info;
  extents_.store(offset, map.runs, ExtentMap::Holes::kProven);
  knows_.store(!extents_.empty(), std::memory_order_release);
}

void ExtentCache::clear() {
  std::lock_guard guard(mutex_);
  extents_.clear();
  knows_.store(false, std::memory_order_release);
}

}  // namespace blockexport::drivers
