#include "drivers/file/extent_cache.h"

#include <algorithm>
#include <cassert>

namespace blockexport::drivers {

using block::Range;

ExtentCache::Freeing::Freeing(ExtentCache& cache, Range range) : cache_(cache), range_(range) {
  std::lock_guard guard(cache_.mutex_);
  ++cache_.freeings_;
}

ExtentCache::Freeing::~Freeing() {
  std::lock_guard guard(cache_.mutex_);
  cache_.extents_.forget(range_);
  --cache_.freeings_;
  cache_.freed_ = cache_.begin_observation();
  cache_.note_knowledge();
}

void ExtentCache::observe(Observation observation, const aio::FileInfo& info) {
  if (observation < newest_) return;
  // The newest observation is older than the end of one of our Freeings, so the space that it freed may be missing from
  // now on.
  const bool we_freed = freeings_ > 0 || freed_ > newest_;
  newest_ = observation;
  if (info == info_) return;
  const bool same_file =
      info.size_bytes == info_.size_bytes && info.device == info_.device && info.inode == info_.inode;
  if (same_file && (we_freed || info.allocated_bytes >= info_.allocated_bytes)) {
    extents_.forget_holes();
  } else {
    extents_.clear();
    freed_ = std::max(freed_, observation);
  }
  info_ = info;
}

IoResult ExtentCache::find(Observation observation, const aio::FileInfo& now, Range range, block::Extents& extents) {
  std::lock_guard guard(mutex_);
  observe(observation, now);
  note_knowledge();
  // The observation is old: the file has changed since, and the cache keeps nothing of its former states.
  if (now != info_) return fail(EAGAIN);
  std::size_t before = extents.size();
  extents_.find(range, extents);
  if (extents.size() == before) return fail(EAGAIN);
  return {};
}

std::uint64_t ExtentCache::store(Observation observation, std::uint64_t offset, const aio::FileMap& map) {
  assert(map.exact);
  std::lock_guard guard(mutex_);
  observe(observation, map.info);
  std::uint64_t bytes_added = 0;
  if (freeings_ == 0 && freed_ <= observation) {
    const bool proven = map.lasting && map.info == info_;
    bytes_added = extents_.store(offset, map.runs, proven ? ExtentMap::Holes::kProven : ExtentMap::Holes::kDoubted);
  }
  note_knowledge();
  return bytes_added;
}

void ExtentCache::clear() {
  std::lock_guard guard(mutex_);
  extents_.clear();
  freed_ = begin_observation();
  note_knowledge();
}

}  // namespace blockexport::drivers
