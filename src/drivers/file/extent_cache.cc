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
  cache_.freed_ = cache_.begin_look();
  cache_.note_knowledge();
}

void ExtentCache::hear(Look look, const aio::FileInfo& info) {
  if (look < newest_) return;
  // The newest look was before the end of one of ours, so that its space may be missing from now on.
  const bool we_freed = freeings_ > 0 || freed_ > newest_;
  newest_ = look;
  if (info == info_) return;
  const bool same_file =
      info.size_bytes == info_.size_bytes && info.device == info_.device && info.inode == info_.inode;
  if (same_file && (we_freed || info.allocated_bytes >= info_.allocated_bytes)) {
    extents_.forget_holes();
  } else {
    extents_.clear();
    freed_ = std::max(freed_, look);
  }
  info_ = info;
}

IoResult ExtentCache::find(Look look, const aio::FileInfo& now, Range range, block::Extents& extents) {
  std::lock_guard guard(mutex_);
  hear(look, now);
  note_knowledge();
  // An old look: of the file as it was then nothing is known any more.
  if (now != info_) return fail(EAGAIN);
  std::size_t before = extents.size();
  extents_.find(range, extents);
  if (extents.size() == before) return fail(EAGAIN);
  return {};
}

std::uint64_t ExtentCache::store(Look look, std::uint64_t offset, const aio::FileMap& map) {
  assert(map.exact);
  std::lock_guard guard(mutex_);
  hear(look, map.info);
  std::uint64_t learnt = 0;
  if (freeings_ == 0 && freed_ <= look) {
    const bool proven = map.lasting && map.info == info_;
    learnt = extents_.store(offset, map.runs, proven ? ExtentMap::Holes::kProven : ExtentMap::Holes::kDoubted);
  }
  note_knowledge();
  return learnt;
}

void ExtentCache::clear() {
  std::lock_guard guard(mutex_);
  extents_.clear();
  freed_ = begin_look();
  note_knowledge();
}

}  // namespace blockexport::drivers
