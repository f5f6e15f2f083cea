#include "aio/sync/sync.h"

#include "aio/reactor/reactor.h"

namespace blockexport::aio {

bool Waiter::park_in(WaitQueue& queue, bool cancellable) {
  if (cancellable && root_->cancelled) {
    cancelled_ = true;
    return false;
  }
  root_->where = where_;
  root_->waiting = cancellable ? this : nullptr;
  queue.waiters_.push_back(*this);
  return true;
}

void Waiter::cancel() {
  cancelled_ = true;
  root_->waiting = nullptr;
  unlink();
  reactor_.schedule(handle_, root_);
  left_queue();
}

void WaitQueue::wake_one() {
  if (waiters_.empty()) return;
  Waiter& waiter = waiters_.pop_front();
  waiter.root_->waiting = nullptr;
  waiter.reactor_.schedule(waiter.handle_, waiter.root_);
}

void WaitQueue::wake_all() {
  while (!waiters_.empty()) wake_one();
}

bool Semaphore::try_acquire(std::uint64_t units) {
  if (!queue_.empty() || available_ < units) return false;
  available_ -= units;
  return true;
}

void Semaphore::release(std::uint64_t units) {
  available_ += units;
  serve();
}

void Semaphore::serve() {
  while (!queue_.empty()) {
    auto& first = static_cast<Acquire&>(queue_.front());
    if (first.units > available_) return;
    available_ -= first.units;
    queue_.wake_one();
  }
}

Task<std::expected<Mutex::Guard, Errno>> Mutex::lock() {
  IoResult taken = co_await semaphore_.acquire(1);
  if (!taken) co_return fail(taken.error());
  co_return Guard(*this);
}

std::optional<Mutex::Guard> Mutex::try_lock() {
  if (!semaphore_.try_acquire(1)) return std::nullopt;
  return Guard(*this);
}

}  // namespace blockexport::aio
