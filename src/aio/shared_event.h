// SharedEvent: an Event for tasks of several reactors.
//
// set(), reset() and is_set() may be called by any thread. Each waiter is woken on its own reactor, by posted work, and
// looks again at what it waited for: the event may have been reset by then. It may be destroyed once nobody waits and
// no call is under way. It takes memory only for who waits.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "aio/sync.h"
#include "aio/task.h"

namespace blockexport::aio {

// What a task waits on when another thread is to wake it. Shared with the wake-up that is on its way, which may arrive
// after the task has given up.
struct Wakeup {
  Wakeup(Reactor& on, Event::Cancellation cancellation) : reactor(on), event(on, cancellation) {}

  // Sets the event of `to` on its reactor. Any thread.
  static void send(std::shared_ptr<Wakeup> to);

  Reactor& reactor;
  Event event;  // its reactor's
};

class SharedEvent {
 public:
  enum class State : bool { kReset, kSet };
  explicit SharedEvent(State state, Event::Cancellation cancellation = Event::Cancellation::kHonoured)
      : set_(state == State::kSet), cancellation_(cancellation) {}
  SharedEvent(const SharedEvent&) = delete;
  SharedEvent& operator=(const SharedEvent&) = delete;

  bool is_set() const { return set_.load(); }
  void set();
  void reset();
  // Until set() is called, or at once when it is set. ECANCELED when the task was cancelled, where that is honoured.
  Task<IoResult> wait();

 private:
  void forget(const std::shared_ptr<Wakeup>& waiter);

  std::atomic<bool> set_;
  Event::Cancellation cancellation_;
  std::mutex mutex_;  // guards changes of set_, and the waiters
  std::vector<std::shared_ptr<Wakeup>> waiters_;
};

}  // namespace blockexport::aio
