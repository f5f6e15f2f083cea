// WriteBackoff: keeps writes into the page cache from holding up a reactor and all of its clients.
//
// A copy into the page cache takes microseconds, until the kernel makes the writer wait for other dirty pages to be
// written or for a journal. After such a stall, writes to this file are handed to worker threads for fifty times the
// stall's length; then writes at once are tried again. A thread that lost its processor for as long looks the same, and
// handing writes to workers for that would make a busy host busier. So the first write that took longer than kStallNs
// only begins a time in which each write is watched for whether its thread gave up the processor by itself; the next
// long one that did is a stall.
// Owned by a FileDriver. Thread: any; the state is two atomic numbers, and a late reader does no harm.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace blockexport::drivers {

class WriteBackoff {
 public:
  // A write that takes longer was no copy into the page cache.
  static constexpr std::uint64_t kStallNs = 2'000'000;
  // A backoff is this many times as long as the stall: a file that stalls again and again holds a reactor for 2 % of
  // its time.
  static constexpr std::uint64_t kBackoffFactor = 50;
  static constexpr std::uint64_t kBackoffNsMax = 5'000'000'000;
  // How long writes are watched after the last long one.
  static constexpr std::uint64_t kWatchNs = 10'000'000'000;

  // Whether a write may be tried at once.
  bool admits(std::uint64_t now_ns) const { return now_ns >= backoff_until_ns_.load(std::memory_order_relaxed); }
  // Whether the caller has to be able to say if the write waited.
  bool watches(std::uint64_t now_ns) const { return now_ns < watch_until_ns_.load(std::memory_order_relaxed); }

  static bool is_long(std::uint64_t elapsed_ns) { return elapsed_ns > kStallNs; }
  // A write that was tried ended at `now_ns` and was long. `waited`: it was watched, and the thread did wait.
  void took_long(std::uint64_t now_ns, std::uint64_t elapsed_ns, bool waited) {
    const std::uint64_t backoff_ns = waited ? std::min(elapsed_ns * kBackoffFactor, kBackoffNsMax) : 0;
    if (waited) backoff_until_ns_.store(now_ns + backoff_ns, std::memory_order_relaxed);
    watch_until_ns_.store(now_ns + backoff_ns + kWatchNs, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> backoff_until_ns_ = 0;
  std::atomic<std::uint64_t> watch_until_ns_ = 0;
};

}  // namespace blockexport::drivers
