// WriteGuard: keeps writes that are not meant to wait from holding up a reactor and all of its clients.
//
// A copy into the page cache takes microseconds, until the kernel makes the writer wait: for other dirty pages to be
// written, for a journal. Then a node's writes rest: they go where waiting is done for them, in proportion to what was
// lost, and after that are tried at once again. A thread that only lost its processor for as long looks the same, and
// writes that rest for that would make a busy host busier. So a write that took longer than kStallNs first makes the
// node's writes watched, each for whether its thread gave up the processor by itself; the next long one that did is a
// stall.
// Owned by a Node. Thread: any; it is two atomic numbers, and who comes a moment late does no harm.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace blockexport::block {

class WriteGuard {
 public:
  // A write that takes longer was no copy into the page cache.
  static constexpr std::uint64_t kStallNs = 2'000'000;
  // A rest is this many times as long as the stall: what stalls again and again holds a reactor for 2 % of its time.
  static constexpr std::uint64_t kRestFactor = 50;
  static constexpr std::uint64_t kRestNsMax = 5'000'000'000;
  // How long writes are watched after the last long one.
  static constexpr std::uint64_t kWatchNs = 10'000'000'000;

  // Whether a write may be tried at once.
  bool admits(std::uint64_t now_ns) const { return now_ns >= rest_until_ns_.load(std::memory_order_relaxed); }
  // Whether the caller has to be able to say if the write waited.
  bool watches(std::uint64_t now_ns) const { return now_ns < watch_until_ns_.load(std::memory_order_relaxed); }

  static bool is_long(std::uint64_t elapsed_ns) { return elapsed_ns > kStallNs; }
  // A write that was tried ended at `now_ns` and was long. `waited`: it was watched, and the thread did wait.
  void took_long(std::uint64_t now_ns, std::uint64_t elapsed_ns, bool waited) {
    const std::uint64_t rest_ns = waited ? std::min(elapsed_ns * kRestFactor, kRestNsMax) : 0;
    if (waited) rest_until_ns_.store(now_ns + rest_ns, std::memory_order_relaxed);
    watch_until_ns_.store(now_ns + rest_ns + kWatchNs, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> rest_until_ns_ = 0;
  std::atomic<std::uint64_t> watch_until_ns_ = 0;
};

}  // namespace blockexport::block
