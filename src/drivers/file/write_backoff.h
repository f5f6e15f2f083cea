// WriteBackoff: state that keeps slow writes into the page cache from blocking a reactor and all of its clients.
//
// A copy into the page cache takes microseconds, until the kernel makes the writer wait for other dirty pages or for a
// journal. After such a stall, writes to this file are handed to worker threads for fifty times the stall's length;
// then inline writes are tried again. A thread that lost its processor for as long looks the same, and handing its
// writes to workers would load a busy host further. So the first write that takes longer than kStallNs only begins a
// period of watching, in which the driver checks after each write whether its thread gave up the processor by itself;
// the next long write that did counts as a stall.
// Owned by a FileDriver. Thread: any; the state is two atomic numbers, and an outdated value is harmless.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace blockexport::drivers {

class WriteBackoff {
 public:
  // A write that takes longer was not only a copy into the page cache.
  static constexpr std::uint64_t kStallNs = 2'000'000;
  // Ratio of a backoff to its stall: a file that stalls again and again blocks a reactor for 2 % of its time.
  static constexpr std::uint64_t kBackoffFactor = 50;
  static constexpr std::uint64_t kBackoffNsMax = 5'000'000'000;
  // Length of the period of watching after the last long write.
  static constexpr std::uint64_t kWatchNs = 10'000'000'000;

  // True if an inline write may be tried now.
  bool admits(std::uint64_t now_ns) const { return now_ns >= backoff_until_ns_.load(std::memory_order_relaxed); }
  // True if the caller has to find out if the write made its thread wait.
  bool watches(std::uint64_t now_ns) const { return now_ns < watch_until_ns_.load(std::memory_order_relaxed); }

  static bool is_long(std::uint64_t elapsed_ns) { return elapsed_ns > kStallNs; }
  // Reports that an inline write was long and ended at `now_ns`. `waited`: it was watched, and its thread did wait.
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
