// Ring: an io_uring instance, set up with the best flags that the kernel supports, after a probe for every opcode we
// use. Owned by the io_uring backend. Thread: the one that created it.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <memory>
#include <span>

#include "aio/uring/ring_calls.h"
#include "base/error.h"

namespace blockexport::aio {

struct RingOptions {
  unsigned entries = 512;       // size of the submission queue
  unsigned completions = 4096;  // size of the completion queue; the kernel buffers any overflow
  const RingCalls& calls = kRingCalls;
  bool restricted = false;  // the ring executes no opcodes but those that the backend uses
};

class Ring {
 public:
  // `options.calls` outlives the ring.
  static Result<std::unique_ptr<Ring>> create(RingOptions options, unsigned kernel_threads_max);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // A free submission entry; null when the kernel accepts none now. Submits the prepared entries when the queue is
  // full.
  io_uring_sqe* next_entry();
  // Submits the prepared entries without waiting.
  void submit() { calls_.submit(ring_); }
  // Submits the prepared entries; then waits until an operation completes, a signal comes or `timeout_ns` has passed
  // (0: does not wait, UINT64_MAX: for ever).
  void enter(std::uint64_t timeout_ns);

  // True if completions are waiting, or the kernel has some to deliver at the next call. Makes no system call.
  bool has_completions() const { return io_uring_cq_ready(&ring_) > 0 || kernel_has_work(); }

  // Registers `memory` as the fixed buffer `number`, below Slabs::kSlabsMax. False when the kernel refuses: it may be
  // too old, or the limit on locked memory too small.
  [[nodiscard]] bool pin(unsigned number, std::span<std::byte> memory);
  // Removes the registration; transfers under way keep the pages pinned until they end.
  void unpin(unsigned number);

  // Calls handle(user_data, result, flags) for each completion.
  template <class Handle>
  void drain(Handle handle) {
    unsigned head;
    unsigned count = 0;
    io_uring_cqe* cqe;
    const unsigned ready = calls_.completions_ready(ring_);
    io_uring_for_each_cqe(&ring_, head, cqe) {
      if (count == ready) break;
      handle(cqe->user_data, cqe->res, cqe->flags);
      ++count;
    }
    io_uring_cq_advance(&ring_, count);
  }

 private:
  explicit Ring(const RingCalls& calls) : calls_(calls) {}
  int set_up(const RingOptions& options);
  Result<> check_opcodes();
  int restrict();
  bool kernel_has_work() const;
  // Waits for a completion, without submitting entries.
  void wait_briefly(std::uint64_t timeout_ns);
  bool set_pinned(unsigned number, iovec memory);

  const RingCalls& calls_;
  io_uring ring_{};
  bool made_ = false;
  bool can_pin_ = false;
  bool has_table_ = false;  // the table of fixed buffers exists
};

}  // namespace blockexport::aio
