// Task<T>: a coroutine that starts when it is awaited, has one awaiter, and owns its frame.
//
// An await starts the child inside await_suspend and continues at once when the child has already finished: no
// symmetric transfer, so a loop over calls that complete at once does not grow the stack in any build. A task that
// suspends is resumed by its reactor and resumes its parent when it ends; stack depth is call depth. Every chain of
// awaits has one TaskRoot (created in aio/sync/scope.cc), which records the operation that the chain waits for. Thread:
// the reactor that the root belongs to. Parameters of coroutines are taken by value, or outlive the await.
#pragma once

#include <cassert>
#include <coroutine>
#include <cstdlib>
#include <optional>
#include <source_location>
#include <utility>

#include "aio/task/frame_cache.h"
#include "base/intrusive_list.h"

namespace blockexport::aio {

class Reactor;

// The operation that a suspended chain waits for. cancel() asks it to end soon with ECANCELED; it may still end with
// another result.
class Waiting {
 public:
  virtual void cancel() = 0;

 protected:
  ~Waiting() = default;
};

// The state shared by one chain of awaits, from a scope's task down to the operation it is suspended on.
struct TaskRoot : ListLink<TaskRoot> {
  TaskRoot(Reactor& on, const char* task_name) : reactor(on), name(task_name) {}

  // Cancels the chain: its current wait, and every cancellable wait that it begins later, gives ECANCELED.
  void cancel() {
    cancelled = true;
    if (waiting != nullptr) waiting->cancel();
  }

  Reactor& reactor;
  const char* name;            // static text, e.g. "nbd session"
  std::source_location where;  // of the innermost co_await, for x-debug-tasks
  Waiting* waiting = nullptr;  // null while running, and during a wait that cannot be cancelled
  bool cancelled = false;
};

// The part of every promise that does not depend on the result type.
class PromiseBase {
 public:
  static void* operator new(std::size_t bytes) { return take_frame(bytes); }
  static void operator delete(void* frame, std::size_t bytes) { give_frame_back(frame, bytes); }

  std::suspend_always initial_suspend() noexcept { return {}; }

  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) noexcept {
      PromiseBase& promise = self.promise();
      // During start() the parent is on the stack below us, and checks for the end itself.
      if (!promise.starting_ && promise.continuation_) promise.continuation_.resume();
      // The frame may be destroyed here.
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }

  // The project is built without exceptions.
  void unhandled_exception() { std::abort(); }

  TaskRoot& root() { return *root_; }

  // Runs until the first suspension; true when the coroutine has ended.
  template <class Promise>
  static bool start(std::coroutine_handle<Promise> self, TaskRoot& root, std::coroutine_handle<> continuation) {
    PromiseBase& promise = self.promise();
    promise.root_ = &root;
    promise.continuation_ = continuation;
    promise.starting_ = true;
    self.resume();
    // Nobody can have destroyed the frame: its owner is the Task that is being awaited.
    promise.starting_ = false;
    return self.done();
  }

 protected:
  // For a coroutine that is the root of its chain.
  void adopt_root(TaskRoot& root) { root_ = &root; }

 private:
  TaskRoot* root_ = nullptr;
  std::coroutine_handle<> continuation_;
  bool starting_ = false;
};

template <class T = void>
class [[nodiscard]] Task;

namespace detail {

template <class T>
class Promise final : public PromiseBase {
 public:
  Task<T> get_return_object();
  template <class U>
  void return_value(U&& value) {
    result_.emplace(std::forward<U>(value));
  }
  T take() {
    assert(result_.has_value());
    return std::move(*result_);
  }

 private:
  std::optional<T> result_;
};

template <>
class Promise<void> final : public PromiseBase {
 public:
  Task<void> get_return_object();
  void return_void() {}
  void take() {}
};

}  // namespace detail

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  struct Awaiter {
    Handle child;
    bool await_ready() { return false; }
    template <class Parent>
    bool await_suspend(std::coroutine_handle<Parent> parent) {
      return !PromiseBase::start(child, parent.promise().root(), parent);
    }
    T await_resume() { return child.promise().take(); }
  };
  Awaiter operator co_await() && { return Awaiter{handle_}; }

 private:
  Handle handle_;
};

template <class T>
Task<T> detail::Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
}
inline Task<void> detail::Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
}

}  // namespace blockexport::aio
