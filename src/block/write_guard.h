// WriteGuard: keeps writes that are not meant to wait from holding up a reactor and all of its clients.
//
// A copy into the page cache takes microseconds, until the kernel makes the writer wait: for other dirty pages to be
// written, for a journal. After one that took longer than kStallNs, a node's writes rest: they go where waiting is done
// for them, in proportion to what was lost, and then are tried at once again. A thread that only lost its processor for
// as long looks the same, and would make a busy host busier; so in the time after a rest a long write counts only if
// the thread itself gave up the processor meanwhile.
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
  // How long after a rest proof is asked for.
  static constexpr std::uint64_t kDoubtNs = 10'000'000'000;

  // Whether a write may be tried at once.
  bool admits(std::uint64_t now_ns) const { return now_ns >= rest_until_ns_.load(std::memory_order_relaxed); }
  // Whether the caller has to be able to say if the write waited.
  bool asks_for_proof(std::uint64_t now_ns) const { return now_ns < proof_until_ns_.load(std::memory_order_relaxed); }

  static bool is_stall(std::uint64_t elapsed_ns) { return elapsed_ns > kStallNs; }
  // A write that was tried ended at `now_ns` and was a stall. `waited`: the thread gave up the processor for it, or
  // nobody asked.
  void stalled(std::uint64_t now_ns, std::uint64_t elapsed_ns, bool waited) {
    const std::uint64_t rest_ns = waited ? std::min(elapsed_ns * kRestFactor, kRestNsMax) : 0;
    if (waited) rest_until_ns_.store(now_ns + rest_ns, std::memory_order_relaxed);
    proof_until_ns_.store(now_ns + rest_ns + kDoubtNs, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> rest_until_ns_ = 0;
  std::atomic<std::uint64_t> proof_until_ns_ = 0;
};

}  // namespace blockexport::block
