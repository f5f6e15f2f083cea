// ExtentCache: extents of a file that may change at any time, by our own calls or by another program.
//
// Each lookup passes the result of a recent fstat(), and the cache answers only as far as that result still allows.
// Writes of data need not notify the cache. Owned by a FileDriver. Any thread: the cache holds a mutex for one lookup,
// never for a system call.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "aio/operation/file_info.h"
#include "drivers/file/extent_map.h"

namespace blockexport::drivers {

// The two kinds of wrong answer are not equally dangerous. A false hole loses data, because a backup skips it; false
// data only make the reader read zeros. So a hole is proven or unknown: the cache reports it only while the file's
// FileInfo equals the one under which it was stored, whoever changes the file. (A write into a hole takes space or
// changes a time stamp.) Data need no proof: they stay valid after any write, by us or by others.
//
// The cache has to notice when data are freed, or it would report free space as data for ever:
// - Our own calls that free space run within a Freeing, which removes their range from the cache.
// - When the size of the file changes, or its space shrinks without a Freeing that explains it, another program has
//   changed the file, and the cache drops everything. The cache does not notice when others free space while the file
//   gains as much elsewhere or while we free something, or when they write zeros that keep their space: such ranges
//   stay data, which the protocol allows.
//
// Observations of the file (an fstat() or a map) overlap each other and our own calls, on several threads. So each
// takes a number before it begins. One that began before the newest observation the cache has seen is outdated and
// changes nothing; and a map that began before the end of a Freeing may report freed space as data, so the cache does
// not store it.
class ExtentCache {
 public:
  // The number of an observation of the file; numbers grow.
  using Observation = std::uint64_t;

  // The scope of a call to the kernel that may free space in `range`, whether it succeeds or not. The destructor
  // removes the range from the cache: if the constructor did, another thread could store the old state again before the
  // call ends.
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

  // False when the cache is empty. Takes no lock, so a caller can cheaply avoid the fstat() that a lookup needs.
  bool may_know() const { return knows_.load(std::memory_order_acquire); }

  // Numbers an observation; call it before the fstat() or the map that find() or store() receives. Never 0.
  Observation begin_observation() { return ++observations_; }

  // As ExtentMap::find, for a file whose fstat() returned `now`. EAGAIN when the first byte is not in the cache.
  IoResult find(Observation observation, const aio::FileInfo& now, block::Range range, block::Extents& extents);

  // Stores the runs of a map that is `exact`, which begin at `offset`; its holes only if the map is `lasting`. Returns
  // the number of bytes that were not in the cache before.
  std::uint64_t store(Observation observation, std::uint64_t offset, const aio::FileMap& map);

  void clear();

 private:
  // Compares the FileInfo of an observation with the newest one, and drops the extents that the difference makes
  // doubtful. Needs the mutex, as do all functions below.
  void observe(Observation observation, const aio::FileInfo& info);
  void note_knowledge() { knows_.store(!extents_.empty(), std::memory_order_release); }

  std::atomic<bool> knows_ = false;
  std::atomic<Observation> observations_ = 0;

  std::mutex mutex_;        // guards all members below
  Observation newest_ = 0;  // newest observation that observe() has accepted
  // The file at that observation. The holes in the cache were stored under this FileInfo, and it has not changed since.
  aio::FileInfo info_;
  std::uint32_t freeings_ = 0;  // calls that may free space, under way
  Observation freed_ = 0;       // a map that began before this observation may report freed space as data
  ExtentMap extents_;
};

}  // namespace blockexport::drivers
