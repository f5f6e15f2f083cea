// with_deadline(): runs a task that is cancelled when its time is over.
//
// Every limit on the time of one task or of one wait is made of it: the opening of a file, a handshake, the answer of
// a foreign module. The work runs as a task of its own, which is asked to end at the deadline, or when the caller is
// cancelled; it is always joined, so that it may refer to the caller's frame. It then ends soon if what it waits for
// can be cancelled: opening, polls and abandonable calls can, transfers cannot. Thread: the caller's reactor.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "aio/sync/shielded.h"
#include "aio/sync/sync.h"
#include "aio/task/task.h"

namespace blockexport::aio {

// The point of the reactor's clock that is `limit_ns` from now; UINT64_MAX, which is never, for one beyond its end.
std::uint64_t deadline_after(const Reactor& reactor, std::uint64_t limit_ns);

// The outcome of work that had a deadline.
template <class T>
struct Timed {
  // The work's own result. After a cancellation it is mostly ECANCELED, in the work's own way; it may be a success all
  // the same, whose value the caller then owns.
  T value;
  // True if the deadline came first, so that the work was cancelled.
  bool is_late;
};

// Runs `work` to its end, and cancels it at `deadline_ns` of the reactor's clock (UINT64_MAX: never). `name` is static
// text, the name of the work's task. A caller that is cancelled cancels the work, which is not late then.
template <class T>
Task<Timed<T>> with_deadline(const char* name, std::uint64_t deadline_ns, Task<T> work);

// The same for work without a result: whether the deadline came first.
Task<bool> with_deadline(const char* name, std::uint64_t deadline_ns, Task<void> work);

// Waits for `event`, which honours cancellation, no longer than until `deadline_ns`. ETIMEDOUT, ECANCELED.
Task<IoResult> with_deadline(const char* name, std::uint64_t deadline_ns, Event& event);

template <class T>
Task<Timed<T>> with_deadline(const char* name, std::uint64_t deadline_ns, Task<T> work) {
  std::optional<T> result;
  Task<void> kept = detail::keep_result(std::move(work), result);
  const bool is_late = co_await with_deadline(name, deadline_ns, std::move(kept));
  co_return Timed<T>{std::move(*result), is_late};
}

}  // namespace blockexport::aio
