// LongSlice: while it lives, its thread gives way to threads that wake up for a request, as far as the scheduler can.
//
// For long work of a thread whose latency matters less than that of others. The kernel (Linux 6.12 and newer) lets a
// thread that wakes up preempt one with a longer slice; else it waits until a slice has ended, which is a hundred times
// as long as a short request. The share of the processor stays the same. On older kernels, with a real-time policy and
// where a sandbox forbids the call it has no effect. Of two at once on a thread the first that ends ends both.
// Thread: created and destroyed on the same one. Source: sched_setattr(2), sched_runtime with SCHED_OTHER.
#pragma once

#include <cstdint>

namespace blockexport::aio {

class LongSlice {
 public:
  // The longest that the kernel grants.
  static constexpr std::uint64_t kSliceNs = 100'000'000;

  LongSlice();
  ~LongSlice();
  LongSlice(const LongSlice&) = delete;
  LongSlice& operator=(const LongSlice&) = delete;

  // The slice of the calling thread that was asked for or is usual; 0: unknown.
  static std::uint64_t slice_ns();
};

}  // namespace blockexport::aio
