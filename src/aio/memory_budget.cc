#include "aio/memory_budget.h"

namespace blockexport::aio {

MemoryBudget::MemoryBudget(Reactor& reactor, ProcessBudget& process, std::uint64_t limit_bytes)
    : process_(process),
      limit_(limit_bytes),
      room_(std::make_shared<Wakeup>(reactor, Event::Cancellation::kHonoured)) {}

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

Task<IoResult> MemoryBudget::take(std::uint64_t bytes) {
  if (bytes > limit_) co_return fail(ENOMEM);
  while (!try_take(bytes)) {
    room_->event.reset();
    // Own memory first: what is missing of the process's share is waited for there.
    bool at_process = used_ + bytes <= limit_;
    if (at_process) {
      ++waiting_for_process_;
      process_.taker_waits();
      process_.tell_of_room(room_);
    }
    // What was given back before we were listed, nobody tells us of.
    bool taken = at_process && try_take(bytes);
    IoResult waited;
    if (!taken) waited = co_await room_->event.wait();
    if (at_process) {
      process_.taker_waits_no_more();
      if (--waiting_for_process_ == 0) process_.forget(room_);
    }
    if (taken || !waited) co_return waited;
  }
  co_return IoResult{};
}

void MemoryBudget::give_back(std::uint64_t bytes) {
  if (bytes == 0) return;
  assert(bytes <= used_);
  std::uint64_t shared = shared_part(used_) - shared_part(used_ - bytes);
  used_ -= bytes;
  process_.give_back(shared);
  room_->event.set();
}

}  // namespace blockexport::aio
