// Ring: an io_uring set up with the best flags that the kernel grants, with every opcode we use probed.
// Owned by the io_uring backend. Thread: the one that made it.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <memory>
#include <span>

#include "aio/uring/ring_calls.h"
#include "base/error.h"

namespace blockexport::aio {

struct RingOptions {
  unsigned entries = 512;       // that are prepared at a time
  unsigned completions = 4096;  // that wait at a time; the kernel keeps more of them for itself
  const RingCalls& calls = kRingCalls;
};

class Ring {
 public:
  // `options.calls` outlives the ring.
  static Result<std::unique_ptr<Ring>> create(RingOptions options, unsigned kernel_threads_max);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // A free entry; null when the kernel takes none now. What was prepared before is handed over to make room.
  io_uring_sqe* next_entry();
  // Hands over what is prepared, and waits for nothing.
  void submit() { calls_.submit(ring_); }
  // Hands over what is prepared; waits until something completes or for `timeout_ns` (0: does not wait, UINT64_MAX: for
  // ever), or a signal comes.
  void enter(std::uint64_t timeout_ns);

  // Pins `memory`, which entries then name by `number`, below Slabs::kSlabsMax. False when the kernel refuses: it may
  // be too old, or the limit on locked memory too small.
  [[nodiscard]] bool pin(unsigned number, std::span<std::byte> memory);
  // Transfers under way keep what they use.
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
  bool kernel_has_work() const;
  // For a completion, without handing over entries.
  void wait_briefly(std::uint64_t timeout_ns);
  bool set_pinned(unsigned number, iovec memory);

  const RingCalls& calls_;
  io_uring ring_{};
  bool made_ = false;
  bool can_pin_ = false;
  bool has_table_ = false;  // of what is pinned
};

}  // namespace blockexport::aio
