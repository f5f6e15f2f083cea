#include "block/request_gate.h"

#include <cassert>

namespace blockexport::block {

RequestGate::~RequestGate() {
  assert((state_.load() & ~kClosed) == 0);
}

bool RequestGate::try_enter() {
  if ((state_.fetch_add(1, std::memory_order_acquire) & kClosed) == 0) return true;
  leave();
  return false;
}

aio::Task<IoResult> RequestGate::enter() {
  while (!try_enter()) {
    if (IoResult waited = co_await opened_.wait(); !waited) co_return waited;
  }
  co_return IoResult();
}

void RequestGate::leave() {
  std::uint64_t seen = state_.load(std::memory_order_relaxed);
  while ((seen & kClosed) == 0) {
    assert(seen > 0);
    if (state_.compare_exchange_weak(seen, seen - 1, std::memory_order_release, std::memory_order_relaxed)) return;
  }
  // Under the mutex, so that a task that closes and then destroys the gate does so only after this function has ended.
  std::lock_guard guard(mutex_);
  if ((state_.fetch_sub(1, std::memory_order_acq_rel) & ~kClosed) == 1) drained_.set();
}

aio::Task<void> RequestGate::close() {
  {
    std::lock_guard guard(mutex_);
    if (closes_++ == 0) {
      opened_.reset();
      state_.fetch_or(kClosed, std::memory_order_acq_rel);
    }
    if ((state_.load(std::memory_order_acquire) & ~kClosed) == 0) co_return;
    drained_.reset();
  }
  (void)co_await drained_.wait();
  // Waits until the last request that left has released the mutex.
  std::lock_guard guard(mutex_);
}

void RequestGate::open() {
  std::lock_guard guard(mutex_);
  assert(closes_ > 0);
  if (--closes_ > 0) return;
  state_.fetch_and(~kClosed, std::memory_order_release);
  opened_.set();
}

}  // namespace blockexport::block
