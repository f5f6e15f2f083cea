// MemoryBudget: limit on the memory that one connection uses, in bytes.
//
// Each connection has a small allowance of its own; beyond it the bytes also count against the ProcessBudget, so a
// client with small requests is served even when other clients have used that up. Waiters are woken in their order
// whenever memory is given back, and try again. A caller that can work with less may limit its wait. Thread: one
// reactor's.
#pragma once

#include <cstdint>
#include <memory>

#include "aio/budget/process_budget.h"
#include "aio/sync/shared_event.h"

namespace blockexport::aio {

class MemoryBudget {
 public:
  static constexpr std::uint64_t kConnectionBytesDefault = 64u << 20;
  static constexpr std::uint64_t kConnectionAllowanceBytes = 512u << 10;

  // `process` outlives the budget. The destructor asserts that all memory was given back.
  MemoryBudget(Reactor& reactor, ProcessBudget& process, std::uint64_t limit_bytes = kConnectionBytesDefault);
  ~MemoryBudget();
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  bool try_take(std::uint64_t bytes);
  // Waits until `bytes` are free and takes them. On an error nothing was taken. ECANCELED; ENOMEM: more than the limit;
  // ETIMEDOUT: for `patience_ns` only the process's budget was short.
  Task<IoResult> take(std::uint64_t bytes, std::uint64_t patience_ns = UINT64_MAX);
  // Takes bytes beyond the limit, for the reply of a request that has begun.
  void take_over_limit(std::uint64_t bytes);
  void give_back(std::uint64_t bytes);

  std::uint64_t used_bytes() const { return used_; }
  // True if it holds bytes of the process's budget; and if any connection waits for such bytes.
  bool holds_shared() const { return shared_part(used_) > 0; }
  bool is_shared_wanted(std::uint64_t now_ns) const { return process_.is_wanted(now_ns); }

 private:
  // The part of `used` bytes that counts against the process's budget.
  static std::uint64_t shared_part(std::uint64_t used) {
    return used > kConnectionAllowanceBytes ? used - kConnectionAllowanceBytes : 0;
  }

  Task<IoResult> wait_for_memory(std::uint64_t until_ns);

  ProcessBudget& process_;
  std::uint64_t limit_;
  std::uint64_t used_ = 0;
  std::uint32_t waiting_for_process_ = 0;
  std::shared_ptr<Wakeup> wakeup_;  // set when memory was given back, here or to the process
};

}  // namespace blockexport::aio
