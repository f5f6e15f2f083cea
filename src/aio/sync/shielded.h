// shielded(): runs a task to its end, even if the awaiting task is cancelled meanwhile.
//
// For a change that must not stop half-way, and for the release of resources. The task runs in a scope of its own, so
// the cancellation does not reach its waits; it must end by itself. Thread: the awaiting task's reactor.
#pragma once

#include <optional>
#include <utility>

#include "aio/sync/scope.h"
#include "aio/task/current.h"

namespace blockexport::aio {

namespace detail {

template <class T>
Task<void> keep_result(Task<T> task, std::optional<T>& result) {
  result.emplace(co_await std::move(task));
}

}  // namespace detail

// `name` is static text, the name of the task. Objects to which the task refers outlive the await.
template <class T>
Task<T> shielded(const char* name, Task<T> task) {
  Scope scope(co_await current_reactor());
  std::optional<T> result;
  Task<void> kept = detail::keep_result(std::move(task), result);
  scope.spawn(name, std::move(kept));
  co_await scope.join();
  co_return std::move(*result);
}

inline Task<void> shielded(const char* name, Task<void> task) {
  Scope scope(co_await current_reactor());
  scope.spawn(name, std::move(task));
  co_await scope.join();
}

}  // namespace blockexport::aio
