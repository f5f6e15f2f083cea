// Fault: which operations fail or move too little, for a Simulation and for the real backends
// (aio/testing/odd_kernel.h). Plain values and functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "aio/operation.h"

namespace blockexport::aio {

// Operations that fail: of the operations of `kind` on `path` (empty: any), the first `after` pass and the next `count`
// give `error`, or (reads and writes, where it is told) move at most `moved_bytes` and succeed with that. Without a
// kind it is each of those that can fail on a file: not polls, calls, closing, or giving a lock up. The immediate calls
// answer EAGAIN while a fault stands against their kind; with `immediate` it stands against them alone.
struct Fault {
  std::optional<OperationKind> kind;
  int error = 0;
  std::uint64_t after = 0;
  std::uint64_t count = 1;
  std::string path = {};
  std::optional<std::uint64_t> moved_bytes = {};
  bool immediate = false;
};

// A call that a fault may meet.
struct FaultyCall {
  OperationKind kind;
  std::string_view path;
  bool immediate = false;
  bool unlocks = false;  // of kLock: gives the lock up
};
bool concerns(const Fault& fault, const FaultyCall& call);
// The first fault that meets the call, if one does; it is counted.
std::optional<Fault> take_fault(std::span<Fault> faults, const FaultyCall& call);

}  // namespace blockexport::aio
