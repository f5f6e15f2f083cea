// ProcessBudget: how many bytes of buffers all connections of the process may use together, beyond what each has for
// itself (MemoryBudget). Any thread; taking and giving back are one atomic step while nobody waits.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "aio/shared_event.h"

namespace blockexport::aio {

class ProcessBudget {
 public:
  static constexpr std::uint64_t kBytesDefault = 1u << 30;
  // How long memory counts as wanted after a taker gave up waiting for it.
  static constexpr std::uint64_t kWantedNs = 2'000'000'000;

  explicit ProcessBudget(std::uint64_t limit_bytes = kBytesDefault) : limit_(limit_bytes) {}
  ~ProcessBudget();
  ProcessBudget(const ProcessBudget&) = delete;
  ProcessBudget& operator=(const ProcessBudget&) = delete;

  bool try_take(std::uint64_t bytes);
  void take_over_limit(std::uint64_t bytes) { used_ += bytes; }
  void give_back(std::uint64_t bytes);

  // `waiter` is woken once, in the order of asking, when something is given back after this call: what is free at its
  // beginning has to be looked for afterwards. One that is listed already stays where it is.
  void tell_of_room(const std::shared_ptr<Wakeup>& waiter);
  void forget(const std::shared_ptr<Wakeup>& waiter);

  // A taker may be woken in vain many times: it waits from the one call to the other.
  void taker_waits() { ++takers_waiting_; }
  void taker_waits_no_more() { --takers_waiting_; }
  // A taker has waited for long enough at `now_ns`, and goes on with less.
  void taker_gave_up(std::uint64_t now_ns) { gave_up_ns_ = now_ns; }
  // Whether anyone waits for room, or gave up less than kWantedNs ago.
  bool is_wanted(std::uint64_t now_ns) const {
    const std::uint64_t gave_up_ns = gave_up_ns_.load();
    return takers_waiting_.load() > 0 || (gave_up_ns != 0 && now_ns < gave_up_ns + kWantedNs);
  }

  std::uint64_t used_bytes() const { return used_.load(); }

 private:
  std::uint64_t limit_;
  std::atomic<std::uint64_t> used_ = 0;
  std::atomic<std::uint32_t> takers_waiting_ = 0;
  std::atomic<std::uint64_t> gave_up_ns_ = 0;  // when a taker last did; 0: never
  std::atomic<bool> has_waiters_ = false;
  std::mutex mutex_;  // guards changes of has_waiters_, and the waiters
  std::vector<std::shared_ptr<Wakeup>> waiters_;
};

}  // namespace blockexport::aio
