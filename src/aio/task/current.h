// co_await aio::current_reactor(): the reactor that the awaiting task runs on. Never suspends.
// co_await aio::current_task(): the root of the awaiting chain, to cancel it or to see whether it is cancelled.
#pragma once

#include "aio/task/task.h"

namespace blockexport::aio {

struct [[nodiscard]] CurrentTaskAwaiter {
  bool await_ready() { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> parent) {
    root = &parent.promise().root();
    return false;
  }
  TaskRoot& await_resume() { return *root; }
  TaskRoot* root = nullptr;
};
inline CurrentTaskAwaiter current_task() {
  return {};
}

// co_await aio::next_turn(): resumes in the reactor's next turn, after all other tasks that are ready.
struct [[nodiscard]] NextTurnAwaiter {
  explicit NextTurnAwaiter(std::source_location awaited_at) : where(awaited_at) {}
  bool await_ready() { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> parent) {
    resume_next_turn(parent.promise().root(), parent, where);
  }
  void await_resume() {}
  static void resume_next_turn(TaskRoot& root, std::coroutine_handle<> waiter, std::source_location where);
  std::source_location where;
};
inline NextTurnAwaiter next_turn(std::source_location where = std::source_location::current()) {
  return NextTurnAwaiter(where);
}

struct [[nodiscard]] CurrentReactorAwaiter : CurrentTaskAwaiter {
  Reactor& await_resume() { return root->reactor; }
};
inline CurrentReactorAwaiter current_reactor() {
  return {};
}

}  // namespace blockexport::aio
