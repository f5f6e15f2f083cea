// Scope: owner of running tasks (structured concurrency): every task belongs to a scope, and none is ever detached.
//
// spawn() starts a task and keeps it; cancel() asks all of them to end; join() waits until all have ended. A scope that
// still has tasks when it is destroyed is a programming error (asserted). Close order everywhere: gate, cancel, join,
// free. Thread: its reactor's.
#pragma once

#include <cassert>
#include <cstddef>

#include "aio/sync/sync.h"
#include "aio/task/task.h"

namespace blockexport::aio {

class Scope {
 public:
  explicit Scope(Reactor& reactor) : reactor_(reactor), empty_(reactor, Event::Cancellation::kIgnored) {}
  ~Scope() { assert(count_ == 0); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  // Starts `task` and runs it up to its first wait. `name` is static text shown by x-debug-tasks.
  void spawn(const char* name, Task<void> task);

  // Cancels every task of the scope. Tasks spawned later start cancelled.
  void cancel();

  // Waits until no task is left. Not cancellable; more than one may wait.
  Task<void> join();

  std::size_t size() const { return count_; }
  bool cancelled() const { return cancelled_; }
  Reactor& reactor() { return reactor_; }

 private:
  struct RunningPromise;
  struct Running;
  static Running run(Scope& scope, const char* name, Task<void> task);

  Reactor& reactor_;
  IntrusiveList<RunningPromise, Scope> running_;
  std::size_t count_ = 0;
  bool cancelled_ = false;
  Event empty_;
};

}  // namespace blockexport::aio
