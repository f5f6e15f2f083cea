#include "block/range_lock.h"

#include "aio/reactor/reactor.h"

namespace blockexport::block {

RangeLock::Hold::Hold(RangeLock& lock, aio::Reactor& reactor, Range range, Kind kind)
    : lock_(lock), reactor_(reactor), range_(range), kind_(kind), may_go_(reactor, aio::Event::Cancellation::kIgnored) {
  lock_.enqueue(*this);
}

RangeLock::Hold::~Hold() {
  lock_.release(*this);
}

aio::Task<void> RangeLock::Hold::acquire() {
  // Only this reactor sets the event, so it cannot be set between here and the wait.
  if (!may_go_.is_set()) (void)co_await may_go_.wait();
}

bool RangeLock::Hold::conflicts_with(const Hold& other) const {
  if (kind_ == Kind::kShared && other.kind_ == Kind::kShared) return false;
  return range_.offset < other.range_.end() && other.range_.offset < range_.end();
}

bool RangeLock::is_free_for(Hold& hold) {
  for (Hold& earlier : queue_) {
    if (&earlier == &hold) return true;
    if (hold.conflicts_with(earlier)) return false;
  }
  return true;
}

void RangeLock::enqueue(Hold& hold) {
  std::lock_guard guard(mutex_);
  queue_.push_back(hold);
  hold.granted_ = is_free_for(hold);
  if (hold.granted_) hold.may_go_.set();
}

void RangeLock::release(Hold& hold) {
  std::lock_guard guard(mutex_);
  hold.unlink();
  for (Hold& waiter : queue_) {
    if (waiter.granted_ || !waiter.conflicts_with(hold) || !is_free_for(waiter)) continue;
    waiter.granted_ = true;
    // The waiter's frame lives at least until its event is set.
    if (&waiter.reactor_ == &hold.reactor_) {
      waiter.may_go_.set();
    } else {
      waiter.reactor_.post([event = &waiter.may_go_] { event->set(); });
    }
  }
}

}  // namespace blockexport::block
