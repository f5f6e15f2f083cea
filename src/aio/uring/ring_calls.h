// RingCalls: the calls of liburing that a Ring makes in each turn: submit entries, wait, and read completions.
//
// A Ring makes them through this interface, so that a test can replace it: to refuse entries, to change them before the
// kernel sees them, and to change results (aio/testing/odd_kernel.h). It has no state; all rings share kRingCalls. Each
// call happens once per turn of the loop, not once per request. Thread: the ring's.
#pragma once

#include <liburing.h>

namespace blockexport::aio {

class RingCalls {
 public:
  constexpr RingCalls() = default;
  constexpr virtual ~RingCalls() = default;

  // These three return the number of submitted entries, or minus an errno.
  virtual int submit(io_uring& ring) const { return io_uring_submit(&ring); }
  virtual int submit_and_get_events(io_uring& ring) const { return io_uring_submit_and_get_events(&ring); }
  // Waits for a completion, or for `timeout` (null: for ever).
  virtual int submit_and_wait(io_uring& ring, __kernel_timespec* timeout) const {
    io_uring_cqe* ignored;
    return io_uring_submit_and_wait_timeout(&ring, &ignored, 1, timeout, nullptr);
  }
  // The number of completions in the queue; the oldest one is first.
  virtual unsigned completions_ready(io_uring& ring) const { return io_uring_cq_ready(&ring); }
};

inline constexpr RingCalls kRingCalls;

}  // namespace blockexport::aio
