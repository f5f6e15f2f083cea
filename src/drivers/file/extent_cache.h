// ExtentCache: what an ExtentMap knows of a file, for as long as the file is as it was.
//
// Whatever makes data of a hole, be it ours or another program's, takes space or leaves a time stamp; so each question
// comes with what fstat() says now, and knowledge of a file that was another is forgotten. Writes need not tell the
// cache anything. Owned by a FileDriver. Any thread: a mutex is held for one lookup, never for a system call.
#pragma once

#include <atomic>
#include <mutex>
#include <span>

#include "aio/file_info.h"
#include "drivers/file/extent_map.h"

namespace blockexport::drivers {

class ExtentCache {
 public:
  // False without a lock, so that who finds it empty need not ask for a FileInfo.
  bool may_know() const { return knows_.load(std::memory_order_acquire); }

  // As ExtentMap::find, of the file that is `now` so. EAGAIN when it knows nothing of the first byte.
  IoResult find(const aio::FileInfo& now, block::Range range, block::Extents& extents);

  // Learns the runs of a map that is `lasting`, which begin at `offset`.
  void store(std::uint64_t offset, const aio::FileMap& map);

  void clear();

 private:
  std::atomic<bool> knows_ = false;
  std::mutex mutex_;  // guards all below
  aio::FileInfo info_;
  ExtentMap extents_;
};

}  // namespace blockexport::drivers
