#include "aio/budget/process_budget.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace blockexport::aio {

ProcessBudget::~ProcessBudget() {
  assert(used_.load() == 0);
}

bool ProcessBudget::try_take(std::uint64_t bytes) {
  std::uint64_t used = used_.load();
  do {
    if (used > limit_ || bytes > limit_ - used) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes));
  return true;
}

void ProcessBudget::give_back(std::uint64_t bytes) {
  if (bytes == 0) return;
  assert(bytes <= used_.load());
  used_ -= bytes;
  // A taker calls add_waiter() and then tries again: if that attempt failed, it came before this subtraction, so its
  // has_waiters_ is visible here.
  if (!has_waiters_.load()) return;
  std::lock_guard guard(mutex_);
  has_waiters_ = false;
  for (std::shared_ptr<Wakeup>& waiter : std::exchange(waiters_, {})) Wakeup::send(std::move(waiter));
}

void ProcessBudget::add_waiter(const std::shared_ptr<Wakeup>& waiter) {
  std::lock_guard guard(mutex_);
  has_waiters_ = true;
  if (std::ranges::find(waiters_, waiter) == waiters_.end()) waiters_.push_back(waiter);
}

void ProcessBudget::remove_waiter(const std::shared_ptr<Wakeup>& waiter) {
  std::lock_guard guard(mutex_);
  std::erase(waiters_, waiter);
  has_waiters_ = !waiters_.empty();
}

}  // namespace blockexport::aio
