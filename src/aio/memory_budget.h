// MemoryBudget: how many bytes of memory one connection may use.
//
// Beyond a small allowance that every connection has for itself it takes from the process's share too, so that a client
// with small requests is served even when others have used up that share. Who waits tries again whenever memory is
// given back, in the order of waiting. Who can do with less need not wait for long for what others hold. Thread: one
// reactor's.
#pragma once

#include <cstdint>
#include <memory>

#include "aio/process_budget.h"
#include "aio/shared_event.h"

namespace blockexport::aio {

class MemoryBudget {
 public:
  static constexpr std::uint64_t kConnectionBytesDefault = 64u << 20;
  static constexpr std::uint64_t kConnectionAllowanceBytes = 512u << 10;

  // `process` outlives it. All was given back when it dies.
  MemoryBudget(Reactor& reactor, ProcessBudget& process, std::uint64_t limit_bytes = kConnectionBytesDefault);
  ~MemoryBudget();
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  bool try_take(std::uint64_t bytes);
  // Waits until there is room. ECANCELED: nothing was taken; ENOMEM: it is more than there can ever be; ETIMEDOUT: for
  // `patience_ns` there was room for this connection and none in the process.
  Task<IoResult> take(std::uint64_t bytes, std::uint64_t patience_ns = UINT64_MAX);
  // Takes more than the limit allows; what a started request needs for its reply.
  void take_over_limit(std::uint64_t bytes);
  void give_back(std::uint64_t bytes);

  std::uint64_t used_bytes() const { return used_; }
  // Whether it holds some of the process's share, and whether anyone waits for that.
  bool holds_shared() const { return shared_part(used_) > 0; }
  bool is_shared_wanted(std::uint64_t now_ns) const { return process_.is_wanted(now_ns); }

 private:
  // What of `used` bytes counts against the process.
  static std::uint64_t shared_part(std::uint64_t used) {
    return used > kConnectionAllowanceBytes ? used - kConnectionAllowanceBytes : 0;
  }

  Task<IoResult> wait_for_room(std::uint64_t until_ns);
  Task<void> wake_at(std::uint64_t deadline_ns);

  ProcessBudget& process_;
  std::uint64_t limit_;
  std::uint64_t used_ = 0;
  std::uint32_t waiting_for_process_ = 0;
  std::shared_ptr<Wakeup> room_;  // something was given back, here or to the process
};

}  // namespace blockexport::aio
