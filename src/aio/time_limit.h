// run_within(): runs a task with a deadline. Used by read_file_until() and similar functions.
//
// The work runs as a separate task, which is cancelled when the time is over or the caller is cancelled; it is always
// joined, so it may refer to the caller's frame. After the cancellation it ends soon if its waits are cancellable:
// open() and abandonable calls are, transfers are not. Thread: the reactor's.
#pragma once

#include <cstdint>

#include "aio/task.h"

namespace blockexport::aio {

// Runs `work` to its end. True when it was cancelled at `deadline_ns` of the reactor's clock (UINT64_MAX: never); then
// `work` has reported ECANCELED in its own way. `name` is static text for x-debug-tasks.
Task<bool> run_within(Reactor& reactor, const char* name, std::uint64_t deadline_ns, Task<void> work);

// The time `limit_ns` from now; UINT64_MAX (never) when the sum overflows.
std::uint64_t deadline_after(const Reactor& reactor, std::uint64_t limit_ns);

}  // namespace blockexport::aio
