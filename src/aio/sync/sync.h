// Event, Semaphore, Mutex: synchronisation between tasks of one reactor.
//
// Waiters are woken in first-in, first-out order; a wake-up resumes them in a later turn of the loop, never inside the
// call that caused it. A wait gives ECANCELED when its task is cancelled before it is woken. None of them allocates.
// Thread: one reactor's. For tasks of several reactors there is SharedEvent.
#pragma once

#include <cassert>
#include <cstdint>
#include <expected>
#include <optional>
#include <source_location>
#include <utility>

#include "aio/task/task.h"
#include "base/errno.h"
#include "base/intrusive_list.h"

namespace blockexport::aio {

class WaitQueue;

// A task parked in a WaitQueue; lives in the frame of the co_await expression.
class Waiter : public ListLink<Waiter>, Waiting {
 public:
  Waiter(Reactor& reactor, std::source_location where) : reactor_(reactor), where_(where) {}

 protected:
  ~Waiter() = default;
  // Suspends the task in the queue; false when it is cancelled and may not wait.
  template <class Promise>
  bool park(std::coroutine_handle<Promise> parent, WaitQueue& queue, bool cancellable = true) {
    root_ = &parent.promise().root();
    handle_ = parent;
    return park_in(queue, cancellable);
  }
  IoResult outcome() const {
    if (cancelled_) return fail(ECANCELED);
    return {};
  }

 private:
  friend class WaitQueue;
  bool park_in(WaitQueue& queue, bool cancellable);
  void cancel() final;
  // Called when a waiter leaves the queue because its task was cancelled.
  virtual void left_queue() {}

  Reactor& reactor_;
  std::source_location where_;
  TaskRoot* root_ = nullptr;
  std::coroutine_handle<> handle_;
  bool cancelled_ = false;
};

class WaitQueue {
 public:
  bool empty() { return waiters_.empty(); }
  Waiter& front() { return waiters_.front(); }
  // Schedules the first, or every, waiter.
  void wake_one();
  void wake_all();

 private:
  friend class Waiter;
  IntrusiveList<Waiter> waiters_;
};

// A flag that tasks can wait for. Stays set until reset().
class Event {
 public:
  enum class Cancellation : bool { kHonoured, kIgnored };
  explicit Event(Reactor& reactor, Cancellation cancellation = Cancellation::kHonoured)
      : reactor_(reactor), cancellable_(cancellation == Cancellation::kHonoured) {}

  void set() {
    set_ = true;
    queue_.wake_all();
  }
  void reset() { set_ = false; }
  bool is_set() const { return set_; }
  Reactor& reactor() { return reactor_; }

  struct [[nodiscard]] Wait final : Waiter {
    Wait(Event& waited_for, std::source_location where) : Waiter(waited_for.reactor_, where), event(waited_for) {}
    bool await_ready() { return event.set_; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> parent) {
      return park(parent, event.queue_, event.cancellable_);
    }
    IoResult await_resume() { return outcome(); }
    Event& event;
  };
  Wait wait(std::source_location where = std::source_location::current()) { return Wait(*this, where); }

 private:
  Reactor& reactor_;
  WaitQueue queue_;
  bool set_ = false;
  bool cancellable_;
};

// A counting semaphore. acquire(n) waits until n units are available and takes them; it is first-in, first-out, so
// small requests cannot starve a large one.
class Semaphore {
 public:
  Semaphore(Reactor& reactor, std::uint64_t units) : reactor_(reactor), available_(units) {}

  std::uint64_t available() const { return available_; }
  // Takes the units if they are available and nobody waits.
  bool try_acquire(std::uint64_t units);
  void release(std::uint64_t units);

  struct [[nodiscard]] Acquire final : Waiter {
    Acquire(Semaphore& from, std::uint64_t count, std::source_location where)
        : Waiter(from.reactor_, where), semaphore(from), units(count) {}
    bool await_ready() { return semaphore.try_acquire(units); }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> parent) {
      return park(parent, semaphore.queue_);
    }
    IoResult await_resume() { return outcome(); }
    void left_queue() override { semaphore.serve(); }
    Semaphore& semaphore;
    std::uint64_t units;
  };
  // Waits for `units` and takes them. ECANCELED: nothing was taken.
  Acquire acquire(std::uint64_t units, std::source_location where = std::source_location::current()) {
    return Acquire(*this, units, where);
  }

 private:
  void serve();

  Reactor& reactor_;
  WaitQueue queue_;
  std::uint64_t available_;
};

// A mutual exclusion lock for tasks of one reactor.
class Mutex {
 public:
  explicit Mutex(Reactor& reactor) : semaphore_(reactor, 1) {}

  class Guard {
   public:
    explicit Guard(Mutex& mutex) : mutex_(&mutex) {}
    Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (mutex_ != nullptr) mutex_->semaphore_.release(1);
    }

   private:
    Mutex* mutex_;
  };

  // Waits for the lock. ECANCELED: the lock is not held.
  Task<std::expected<Guard, Errno>> lock();
  // Nothing when somebody holds it or waits for it.
  std::optional<Guard> try_lock();
  bool is_locked() const { return semaphore_.available() == 0; }

 private:
  Semaphore semaphore_;
};

}  // namespace blockexport::aio
