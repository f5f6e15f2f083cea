// Clocks of the benchmark programs: nanoseconds of wall time and of our own CPU time.
//
// Thread: any.
#pragma once

#include <cstdint>
#include <ctime>

namespace blockexport::bench {

inline constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;
inline constexpr uint64_t kNanosecondsPerMillisecond = 1'000'000;

inline uint64_t read_clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * kNanosecondsPerSecond + static_cast<uint64_t>(now.tv_nsec);
}

inline uint64_t wall_ns() {
  return read_clock_ns(CLOCK_MONOTONIC);
}
inline uint64_t own_cpu_ns() {
  return read_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

}  // namespace blockexport::bench
