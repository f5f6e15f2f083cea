#include "block/request_gate.h"

#include <cassert>
#include <utility>

#include "aio/current.h"
#include "aio/reactor.h"
#include "aio/sync.h"

namespace blockexport::block {

struct RequestGate::Waiter {
  Waiter(aio::Reactor& on, aio::Event::Cancellation cancellation) : reactor(on), woken(on, cancellation) {}
  aio::Reactor& reactor;
  aio::Event woken;
};

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
    if (IoResult waited = co_await wait_until_open(); !waited) co_return waited;
  }
  co_return IoResult();
}

void RequestGate::leave() {
  std::uint64_t seen = state_.load(std::memory_order_relaxed);
  while ((seen & kClosed) == 0) {
    assert(seen > 0);
    if (state_.compare_exchange_weak(seen, seen - 1, std::memory_order_release, std::memory_order_relaxed)) return;
  }
  // Under the mutex, so that who closes and then destroys the gate does so after our last touch of it.
  std::lock_guard guard(mutex_);
  if ((state_.fetch_sub(1, std::memory_order_acq_rel) & ~kClosed) == 1) wake_all(std::exchange(closers_, {}));
}

aio::Task<void> RequestGate::close() {
  auto waiter = std::make_shared<Waiter>(co_await aio::current_reactor(), aio::Event::Cancellation::kIgnored);
  {
    std::lock_guard guard(mutex_);
    if (closes_++ == 0) state_.fetch_or(kClosed, std::memory_order_acq_rel);
    if ((state_.load(std::memory_order_acquire) & ~kClosed) == 0) co_return;
    closers_.push_back(waiter);
  }
  (void)co_await waiter->woken.wait();
  // Until who left last has let go of the mutex.
  std::lock_guard guard(mutex_);
}

void RequestGate::open() {
  std::lock_guard guard(mutex_);
  assert(closes_ > 0);
  if (--closes_ > 0) return;
  state_.fetch_and(~kClosed, std::memory_order_release);
  wake_all(std::exchange(outside_, {}));
}

aio::Task<IoResult> RequestGate::wait_until_open() {
  auto waiter = std::make_shared<Waiter>(co_await aio::current_reactor(), aio::Event::Cancellation::kHonoured);
  {
    std::lock_guard guard(mutex_);
    if (closes_ == 0) co_return IoResult();
    outside_.push_back(waiter);
  }
  co_return co_await waiter->woken.wait();
}

void RequestGate::wake_all(WaiterList waiters) {
  for (std::shared_ptr<Waiter>& waiter : waiters) {
    aio::Reactor& reactor = waiter->reactor;
    reactor.post([waiter = std::move(waiter)] { waiter->woken.set(); });
  }
}

}  // namespace blockexport::block
