#include "aio/threads/data_reactor.h"

#include <utility>

#include "aio/task/current.h"

namespace blockexport::aio {
namespace {

Task<void> run_to_end(Task<void> task) {
  co_await std::move(task);
}

// Runs on the other reactor: the task, then a post that reports its end.
Task<void> run_and_notify(Task<void> task, Event& ended) {
  // The task runs in a nested frame, so that its frame is destroyed before its end is reported.
  co_await run_to_end(std::move(task));
  ended.reactor().post([&ended] { ended.set(); });
}

}  // namespace

Task<void> run_on(DataReactor& there, const char* name, Task<void> task) {
  return run_on(there.reactor, there.scope, name, std::move(task));
}

Task<void> run_on(Reactor& there, Scope& scope, const char* name, Task<void> task) {
  Reactor& here = co_await current_reactor();
  if (&here == &there) {
    co_await std::move(task);
    co_return;
  }
  Event ended(here, Event::Cancellation::kIgnored);
  there.post([&scope, &ended, name, task = std::move(task)]() mutable {
    scope.spawn(name, run_and_notify(std::move(task), ended));
  });
  (void)co_await ended.wait();
}

}  // namespace blockexport::aio
