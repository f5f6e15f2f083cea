#include "aio/budget/memory_budget.h"

#include <optional>

#include "aio/reactor/reactor.h"
#include "aio/sync/with_deadline.h"

namespace blockexport::aio {

MemoryBudget::MemoryBudget(Reactor& reactor, ProcessBudget& process, std::uint64_t limit_bytes)
    : process_(process),
      limit_(limit_bytes),
      wakeup_(std::make_shared<Wakeup>(reactor, Event::Cancellation::kHonoured)) {}

MemoryBudget::~MemoryBudget() {
  assert(used_ == 0);
}

bool MemoryBudget::try_take(std::uint64_t bytes) {
  if (used_ + bytes > limit_) return false;
  std::uint64_t more_shared = shared_part(used_ + bytes) - shared_part(used_);
  if (more_shared > 0 && !process_.try_take(more_shared)) return false;
  used_ += bytes;
  return true;
}

void MemoryBudget::take_over_limit(std::uint64_t bytes) {
  process_.take_over_limit(shared_part(used_ + bytes) - shared_part(used_));
  used_ += bytes;
}

Task<IoResult> MemoryBudget::take(std::uint64_t bytes, std::uint64_t patience_ns) {
  if (bytes > limit_) co_return fail(ENOMEM);
  Reactor& reactor = wakeup_->reactor;
  std::optional<std::uint64_t> until_ns;  // when to give up, counted from the first time that only the process's budget
                                          // was short
  while (!try_take(bytes)) {
    wakeup_->event.reset();
    // When this connection's own limit allows the bytes, the process's budget is what is missing, and the wait is
    // there.
    const bool at_process = used_ + bytes <= limit_;
    if (at_process) {
      if (!until_ns) until_ns = deadline_after(reactor, patience_ns);
      if (const std::uint64_t now_ns = reactor.now_ns(); now_ns >= *until_ns) {
        process_.taker_gave_up(now_ns);
        co_return fail(ETIMEDOUT);
      }
      ++waiting_for_process_;
      process_.taker_waits();
      process_.add_waiter(wakeup_);
    }
    // Tries again, since nobody wakes us for memory that was given back before add_waiter().
    const bool taken = at_process && try_take(bytes);
    IoResult waited;
    if (!taken) waited = co_await wait_for_memory(at_process ? *until_ns : UINT64_MAX);
    if (at_process) {
      process_.taker_waits_no_more();
      if (--waiting_for_process_ == 0) process_.remove_waiter(wakeup_);
    }
    if (taken || !waited) co_return waited;
  }
  co_return IoResult{};
}

// Waits until memory was given back, or until `until_ns`.
Task<IoResult> MemoryBudget::wait_for_memory(std::uint64_t until_ns) {
  if (until_ns == UINT64_MAX) co_return co_await wakeup_->event.wait();
  IoResult waited = co_await with_deadline("memory patience", until_ns, wakeup_->event);
  if (!waited && waited.error() == Errno(ETIMEDOUT)) co_return IoResult{};
  co_return waited;
}

void MemoryBudget::give_back(std::uint64_t bytes) {
  if (bytes == 0) return;
  assert(bytes <= used_);
  std::uint64_t shared = shared_part(used_) - shared_part(used_ - bytes);
  used_ -= bytes;
  process_.give_back(shared);
  wakeup_->event.set();
}

}  // namespace blockexport::aio
