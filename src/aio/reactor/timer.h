// Timers of one reactor: a binary heap by deadline. Each entry lives in the frame of the task that sleeps.
// Thread: the reactor's. Insert and remove cost O(log n) and allocate only when the heap grows.
#pragma once

#include <coroutine>
#include <cstdint>
#include <source_location>
#include <vector>

#include "aio/task/task.h"
#include "base/errno.h"

namespace blockexport::aio {

class TimerQueue;

// co_await: sleeps until a deadline. Gives success at the deadline, ECANCELED when the task was cancelled.
class [[nodiscard]] TimerAwaiter : Waiting {
 public:
  TimerAwaiter(Reactor& on, std::uint64_t deadline, std::source_location where)
      : reactor_(on), deadline_ns_(deadline), where_(where) {}

  bool await_ready() { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> parent) {
    root_ = &parent.promise().root();
    waiter_ = parent;
    return begin();
  }
  IoResult await_resume() {
    if (cancelled_) return fail(ECANCELED);
    return {};
  }

 private:
  friend class TimerQueue;
  friend class Reactor;
  void cancel() final;
  bool begin();
  void resume_soon();

  Reactor& reactor_;
  std::uint64_t deadline_ns_;
  std::source_location where_;
  TaskRoot* root_ = nullptr;
  std::coroutine_handle<> waiter_;
  std::size_t heap_index_ = 0;
  bool cancelled_ = false;
};

class TimerQueue {
 public:
  void add(TimerAwaiter& timer);
  void remove(TimerAwaiter& timer);
  // The earliest deadline, or UINT64_MAX.
  std::uint64_t next_deadline_ns() const;
  // Takes the earliest timer whose deadline is not after `now_ns`; null when there is none.
  TimerAwaiter* take_due(std::uint64_t now_ns);

 private:
  void place(std::size_t index, TimerAwaiter* timer);
  void sift_up(std::size_t index);
  void sift_down(std::size_t index);

  std::vector<TimerAwaiter*> heap_;
};

}  // namespace blockexport::aio
