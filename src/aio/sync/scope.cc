#include "aio/sync/scope.h"

#include "aio/reactor/reactor.h"

namespace blockexport::aio {

struct Scope::Running {
  using promise_type = RunningPromise;
  std::coroutine_handle<RunningPromise> handle;
};

// The root coroutine of one task: it awaits the task, leaves the scope and frees itself.
struct Scope::RunningPromise : PromiseBase, ListLink<Scope> {
  RunningPromise(Scope& in, const char* name, Task<void>&) : scope(in), task_root(in.reactor_, name) {
    adopt_root(task_root);
    task_root.cancelled = in.cancelled_;
  }
  Running get_return_object() { return {std::coroutine_handle<RunningPromise>::from_promise(*this)}; }
  void return_void() {}

  struct Leave {
    bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<RunningPromise> self) noexcept {
      RunningPromise& promise = self.promise();
      Scope& left = promise.scope;
      promise.task_root.unlink();
      static_cast<ListLink<Scope>&>(promise).unlink();
      self.destroy();
      if (--left.count_ == 0) left.empty_.set();
    }
    void await_resume() noexcept {}
  };
  Leave final_suspend() noexcept { return {}; }

  Scope& scope;
  TaskRoot task_root;
};

Scope::Running Scope::run(Scope&, const char*, Task<void> task) {
  co_await std::move(task);
}

void Scope::spawn(const char* name, Task<void> task) {
  Running running = run(*this, name, std::move(task));
  RunningPromise& promise = running.handle.promise();
  running_.push_back(promise);
  reactor_.tasks().push_back(promise.task_root);
  ++count_;
  running.handle.resume();
}

void Scope::cancel() {
  cancelled_ = true;
  for (RunningPromise& promise : running_) promise.task_root.cancel();
}

Task<void> Scope::join() {
  while (count_ > 0) {
    empty_.reset();
    (void)co_await empty_.wait();
  }
}

}  // namespace blockexport::aio
