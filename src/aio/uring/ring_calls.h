// RingCalls: how a Ring reaches the kernel, by liburing: handing over entries, waiting, and looking for completions.
//
// A Ring does these through one such object, so that a test can put an object of its own in its place: to refuse
// entries, to change them before the kernel sees them, and to change results (aio/testing/odd_kernel.h). It has no
// state, and everybody shares kRingCalls. Each is done once in a turn of the loop, not once for each request. Thread:
// the ring's.
#pragma once

#include <liburing.h>

namespace blockexport::aio {

class RingCalls {
 public:
  constexpr RingCalls() = default;
  constexpr virtual ~RingCalls() = default;

  // These three give the number of entries handed over, or minus an errno.
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
