// SharedEvent: an event on which tasks of several reactors can wait.
//
// Any thread may call set(), reset() and is_set(). Each waiter is woken on its own reactor, by posted work, and must
// check its condition again: the event may have been reset by then. It may be destroyed once nobody waits and no call
// is under way. It allocates memory for waiters only.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "aio/sync/sync.h"
#include "aio/task/task.h"

namespace blockexport::aio {

// An event that another thread can set. Shared by the waiting task and the posted wake-up, which may arrive after the
// task has stopped waiting.
struct Wakeup {
  Wakeup(Reactor& on, Event::Cancellation cancellation) : reactor(on), event(on, cancellation) {}

  // Sets the event of `to` on its reactor. Any thread.
  static void send(std::shared_ptr<Wakeup> to);

  Reactor& reactor;
  Event event;  // used on its reactor's thread only
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
  // Waits until set() is called; returns at once when it is set. ECANCELED when the task was cancelled, unless
  // cancellation is kIgnored.
  Task<IoResult> wait();

 private:
  void forget(const std::shared_ptr<Wakeup>& waiter);

  std::atomic<bool> set_;
  Event::Cancellation cancellation_;
  std::mutex mutex_;  // guards waiters_ and changes of set_
  std::vector<std::shared_ptr<Wakeup>> waiters_;
};

}  // namespace blockexport::aio
