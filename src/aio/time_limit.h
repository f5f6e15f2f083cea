// run_within(): a task with a deadline. read_file_until() and the like are made of it.
//
// What runs is a task of its own, which is asked to end when the time is over or the caller is cancelled; it is always
// joined, so that it may refer to the caller's frame. It ends soon then if what it waits for can be cancelled: opening
// and calls that are abandonable can, transfers cannot. Thread: the reactor's.
#pragma once

#include <cstdint>

#include "aio/task.h"

namespace blockexport::aio {

// Runs `work` to its end. True when it had to be cancelled because `deadline_ns` of the reactor's clock had come
// (UINT64_MAX: never); then it says ECANCELED in its own way. `name` is static text for x-debug-tasks.
Task<bool> run_within(Reactor& reactor, const char* name, std::uint64_t deadline_ns, Task<void> work);

// `limit_ns` from now; never for UINT64_MAX.
std::uint64_t deadline_after(const Reactor& reactor, std::uint64_t limit_ns);

}  // namespace blockexport::aio
