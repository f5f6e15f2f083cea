// Clock: interface to the monotonic and the wall clock, which a simulation replaces. Thread: any; implementations are
// thread-safe.
#pragma once

#include <cstdint>

namespace blockexport {

class Clock {
 public:
  virtual ~Clock() = default;
  // Nanoseconds since an arbitrary start; never goes back. Deadlines and latencies.
  virtual std::uint64_t now_ns() const = 0;
  // Microseconds since 1970-01-01 UTC. Event timestamps and log lines only.
  virtual std::int64_t wall_us() const = 0;
};

// CLOCK_MONOTONIC and CLOCK_REALTIME.
class SystemClock final : public Clock {
 public:
  std::uint64_t now_ns() const override;
  std::int64_t wall_us() const override;
};

}  // namespace blockexport
