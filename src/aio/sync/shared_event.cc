#include "aio/sync/shared_event.h"

#include <utility>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"

namespace blockexport::aio {

void Wakeup::send(std::shared_ptr<Wakeup> to) {
  Reactor& reactor = to->reactor;
  reactor.post([to = std::move(to)] { to->event.set(); });
}

void SharedEvent::set() {
  std::lock_guard guard(mutex_);
  set_ = true;
  for (std::shared_ptr<Wakeup>& waiter : std::exchange(waiters_, {})) Wakeup::send(std::move(waiter));
}

void SharedEvent::reset() {
  std::lock_guard guard(mutex_);
  set_ = false;
}

Task<IoResult> SharedEvent::wait() {
  Reactor& reactor = co_await current_reactor();
  std::shared_ptr<Wakeup> waiter;
  {
    std::lock_guard guard(mutex_);
    if (set_) co_return IoResult{};
    waiter = std::make_shared<Wakeup>(reactor, cancellation_);
    waiters_.push_back(waiter);
  }
  IoResult woken = co_await waiter->event.wait();
  if (!woken) forget(waiter);
  co_return woken;
}

void SharedEvent::forget(const std::shared_ptr<Wakeup>& waiter) {
  std::lock_guard guard(mutex_);
  std::erase(waiters_, waiter);
}

}  // namespace blockexport::aio
