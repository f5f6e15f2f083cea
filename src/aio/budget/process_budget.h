// ProcessBudget: limit on the buffers of all connections of the process together, in bytes, beyond the allowance of
// each connection (MemoryBudget). Any thread; taking and giving back are one atomic step while nobody waits.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "aio/sync/shared_event.h"

namespace blockexport::aio {

class ProcessBudget {
 public:
  static constexpr std::uint64_t kBytesDefault = 1u << 30;
  // Time for which is_wanted() stays true after a taker gave up waiting.
  static constexpr std::uint64_t kWantedNs = 2'000'000'000;

  explicit ProcessBudget(std::uint64_t limit_bytes = kBytesDefault) : limit_(limit_bytes) {}
  ~ProcessBudget();
  ProcessBudget(const ProcessBudget&) = delete;
  ProcessBudget& operator=(const ProcessBudget&) = delete;

  bool try_take(std::uint64_t bytes);
  void take_over_limit(std::uint64_t bytes) { used_ += bytes; }
  void give_back(std::uint64_t bytes);

  // Wakes `waiter` once, in the order of the calls, when memory is given back after this call. The caller tries to take
  // again after the call, since memory may have been given back before it. A waiter that is listed already keeps its
  // position.
  void add_waiter(const std::shared_ptr<Wakeup>& waiter);
  void remove_waiter(const std::shared_ptr<Wakeup>& waiter);

  // Begin and end of a taker's wait. Between them it may be woken in vain many times.
  void taker_waits() { ++takers_waiting_; }
  void taker_waits_no_more() { --takers_waiting_; }
  // A taker gave up at `now_ns`, and continues with less memory.
  void taker_gave_up(std::uint64_t now_ns) { gave_up_ns_ = now_ns; }
  // True if a taker waits, or gave up less than kWantedNs ago.
  bool is_wanted(std::uint64_t now_ns) const {
    const std::uint64_t gave_up_ns = gave_up_ns_.load();
    return takers_waiting_.load() > 0 || (gave_up_ns != 0 && now_ns < gave_up_ns + kWantedNs);
  }

  std::uint64_t used_bytes() const { return used_.load(); }

 private:
  std::uint64_t limit_;
  std::atomic<std::uint64_t> used_ = 0;
  std::atomic<std::uint32_t> takers_waiting_ = 0;
  std::atomic<std::uint64_t> gave_up_ns_ = 0;  // when a taker last gave up; 0: never
  std::atomic<bool> has_waiters_ = false;
  std::mutex mutex_;  // guards waiters_ and changes of has_waiters_
  std::vector<std::shared_ptr<Wakeup>> waiters_;
};

}  // namespace blockexport::aio
