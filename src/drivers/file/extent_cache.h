// ExtentCache: what an ExtentMap knows of a file that changes, by our doing or another program's.
//
// Each question comes with what fstat() says at the time, and what is known is told as far as that still allows it.
// Writes of data need not tell the cache anything. Owned by a FileDriver. Any thread: a mutex is held for one lookup,
// never for a system call.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "aio/file_info.h"
#include "drivers/file/extent_map.h"

namespace blockexport::drivers {

// The two things that it can say are not equally dangerous. Who believes in a hole that is none loses data, since a
// backup skips it; who believes in data that are none reads zeros. So a hole is proven or not known: it is told for as
// long as the file's FileInfo is the one under which it was learnt, whoever changes the file. (What makes data of a
// hole takes space, or leaves a time stamp.) Data need no proof: they are told after any write, by us or by others.
//
// What takes data away has to be noticed, or what is free would be told as data for good:
// - Our own calls that free space do it within a Freeing, which forgets their range.
// - When the file is of another size, or has less space than before and no Freeing explains that, somebody else has
//   been at work, and all is forgotten. What others free while the file gains as much elsewhere goes unnoticed, as does
//   what they free while we free something, and zeros that keep their space: all of it stays data, which is legal.
//
// Looks at the file overlap each other and our own calls, on several threads, so each takes a number before it begins:
// one that began before another that has been heard of is old and changes nothing; and a map that began before the end
// of a Freeing may have seen what was freed as data, and teaches nothing.
class ExtentCache {
 public:
  // The number of a look.
  using Look = std::uint64_t;

  // Around a call to the kernel that may free space in `range`, whatever comes of it. From its end on that range is not
  // known: forgotten any sooner, it could be learnt again, as it was, before the call is done.
  class Freeing {
   public:
    Freeing(ExtentCache& cache, block::Range range);
    ~Freeing();
    Freeing(const Freeing&) = delete;
    Freeing& operator=(const Freeing&) = delete;

   private:
    ExtentCache& cache_;
    block::Range range_;
  };

  // False without a lock, so that who finds it empty need not ask for a FileInfo.
  bool may_know() const { return knows_.load(std::memory_order_acquire); }

  // To be called before the file is asked for what find() or store() is given. Never 0.
  Look begin_look() { return ++looks_; }

  // As ExtentMap::find, of the file that is `now` so. EAGAIN when it knows nothing of the first byte.
  IoResult find(Look look, const aio::FileInfo& now, block::Range range, block::Extents& extents);

  // Learns the runs of a map that is `exact`, which begin at `offset`; its holes if it is `lasting`. How many bytes
  // became known that were not.
  std::uint64_t store(Look look, std::uint64_t offset, const aio::FileMap& map);

  void clear();

 private:
  // What a look saw of the file as a whole. All below want the mutex.
  void hear(Look look, const aio::FileInfo& info);
  void note_knowledge() { knows_.store(!extents_.empty(), std::memory_order_release); }

  std::atomic<bool> knows_ = false;
  std::atomic<Look> looks_ = 0;

  std::mutex mutex_;  // guards all below
  Look newest_ = 0;   // of those that were heard
  // Of it. Holes that are known were learnt under this, and nothing else was heard since.
  aio::FileInfo info_;
  std::uint32_t freeings_ = 0;  // under way
  Look freed_ = 0;              // looks before this one may have seen data that are gone
  ExtentMap extents_;
};

}  // namespace blockexport::drivers
