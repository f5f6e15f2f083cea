// Fault: injected errors and short transfers, for a Simulation and for the real backends (aio/testing/odd_kernel.h).
// Plain values and functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "aio/operation/operation.h"

namespace blockexport::aio {

// Of the operations of `kind` on `path` (empty: any), the first `after` succeed, and the next `count` fail with
// `error`, or (reads and writes with `moved_bytes`) succeed after at most `moved_bytes`. Without a kind the fault
// applies to all file operations that can fail: not to polls, calls, close and unlock. The immediate calls (try_read,
// try_write) give EAGAIN while a fault of their kind is pending; with `immediate` the fault applies to them alone.
struct Fault {
  std::optional<OperationKind> kind;
  int error = 0;
  std::uint64_t after = 0;
  std::uint64_t count = 1;
  std::string path = {};
  std::optional<std::uint64_t> moved_bytes = {};
  bool immediate = false;
};

// A call to which a fault may apply.
struct FaultyCall {
  OperationKind kind;
  std::string_view path;
  bool immediate = false;
  bool unlocks = false;  // a kLock that releases the lock
};
bool concerns(const Fault& fault, const FaultyCall& call);
// Returns the first fault that applies to the call, if any, and decreases its counts.
std::optional<Fault> take_fault(std::span<Fault> faults, const FaultyCall& call);

}  // namespace blockexport::aio
