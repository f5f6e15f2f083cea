#include "aio/uring/uring_backend.h"

#include <poll.h>
#include <sys/uio.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "aio/posix/posix_backend.h"
#include "aio/posix/transfer_flags.h"
#include "aio/uring/pinned_slabs.h"
#include "aio/uring/ring.h"

namespace blockexport::aio {
namespace {

// User data of a completion: the address of its operation, or one of these.
constexpr std::uint64_t kNobody = 0;
constexpr std::uint64_t kWake = 1;
// Values of Operation::backend_data.
constexpr std::uintptr_t kOutside = 0;
constexpr std::uintptr_t kInRing = 1;   // a bit
constexpr std::uintptr_t kRepeats = 2;  // a bit: a multishot poll, which continues until it is cancelled
// Pause before a retry when the kernel accepts no more entries for the moment.
constexpr std::uint64_t kRetryNs = 1'000'000;
// The kernel's own limit for one transfer, a multiple of every block size.
constexpr std::size_t kTransferBytesMax = 0x7ffff000;

class UringBackend final : public posix::PosixBackend {
 public:
  UringBackend(std::unique_ptr<Ring> ring, std::unique_ptr<posix::WakeEvent> wake, std::uint32_t worker_threads_max,
               const posix::SystemCalls& calls)
      : PosixBackend(std::move(wake), worker_threads_max, calls), ring_(std::move(ring)) {}

  std::string_view name() const override { return "io_uring"; }
  void submit(Operation& operation) override;
  void cancel(Operation& operation) override;
  bool wait(std::uint64_t deadline_ns, OperationList& completed) override;
  bool has_completions() const override { return ring_->has_completions(); }
  void use_slabs(const Slabs* slabs) override { pinned_.use(slabs); }
  void slabs_trimmed() override { pinned_.unpin(); }

 private:
  bool prepare(Operation& operation);
  bool prepare_cancel(Operation& operation);
  bool prepare_all();
  void begin_transfers();
  void finish_poll(Operation& poll, int result, bool goes_on, OperationList& completed);
  void finish(Operation& operation, int result, bool goes_on, OperationList& completed);

  std::unique_ptr<Ring> ring_;
  PinnedSlabs pinned_{*ring_};
  OperationList waiting_;                 // operations that wait for a free entry in the ring
  OperationList to_cancel_;               // operations in the ring whose cancellation waits for a free entry
  OperationList cancelled_;               // cancelled before they reached the ring; the next wait() returns them
  std::uint32_t transfers_prepared_ = 0;  // entries in the ring that were not submitted
  std::uint32_t transfers_begun_ = 0;     // submitted transfers that have not completed
  bool wake_watched_ = false;             // a poll for the wake event is in the ring
};

bool goes_through_ring(OperationKind kind) {
  return kind == OperationKind::kPoll || kind == OperationKind::kRead || kind == OperationKind::kWrite ||
         kind == OperationKind::kSync || kind == OperationKind::kAllocate;
}

bool is_transfer(OperationKind kind) {
  return kind == OperationKind::kRead || kind == OperationKind::kWrite;
}

unsigned count_of(std::span<const iovec> vectors) {
  return static_cast<unsigned>(std::min<std::size_t>(vectors.size(), IOV_MAX));
}

unsigned length_of(const iovec& vector) {
  return static_cast<unsigned>(std::min<std::size_t>(vector.iov_len, kTransferBytesMax));
}

// A transfer with one vector, whose memory may be in a pinned slab.
void prepare_plain_transfer(io_uring_sqe* entry, const Operation& o, std::optional<unsigned> slab) {
  const iovec& memory = o.vectors[0];
  const bool read = o.kind == OperationKind::kRead;
  const unsigned bytes = length_of(memory);
  if (!slab) {
    io_uring_prep_rw(read ? IORING_OP_READ : IORING_OP_WRITE, entry, o.fd, memory.iov_base, bytes, o.offset);
  } else if (read) {
    io_uring_prep_read_fixed(entry, o.fd, memory.iov_base, bytes, o.offset, static_cast<int>(*slab));
  } else {
    io_uring_prep_write_fixed(entry, o.fd, memory.iov_base, bytes, o.offset, static_cast<int>(*slab));
  }
}

void prepare_transfer(io_uring_sqe* entry, const Operation& o, PinnedSlabs& pinned) {
  if (o.vectors.size() == 1) {
    const bool bypass = o.caching == Caching::kBypass;
    prepare_plain_transfer(entry, o, bypass ? pinned.number_of(o.vectors[0]) : std::nullopt);
  } else {
    io_uring_prep_rw(o.kind == OperationKind::kRead ? IORING_OP_READV : IORING_OP_WRITEV, entry, o.fd, o.vectors.data(),
                     count_of(o.vectors), o.offset);
  }
  entry->rw_flags = posix::transfer_flags(o);
}

void prepare_entry(io_uring_sqe* entry, const Operation& o, PinnedSlabs& pinned) {
  switch (o.kind) {
    case OperationKind::kPoll:
      if ((o.backend_data & kRepeats) != 0) {
        io_uring_prep_poll_multishot(entry, o.fd, o.events);
      } else {
        io_uring_prep_poll_add(entry, o.fd, o.events);
      }
      break;
    case OperationKind::kSync:
      io_uring_prep_fsync(entry, o.fd, IORING_FSYNC_DATASYNC);
      break;
    case OperationKind::kAllocate:
      // io_uring_prep_fallocate() of liburing 2.3 takes signed ranges, hence the fields directly; they are those of
      // fallocate(2).
      io_uring_prep_rw(IORING_OP_FALLOCATE, entry, o.fd, nullptr, static_cast<unsigned>(o.mode), o.offset);
      entry->addr = o.length;
      break;
    default:
      prepare_transfer(entry, o, pinned);
  }
}

std::uint64_t number_of(Operation& operation) {
  return reinterpret_cast<std::uintptr_t>(&operation);
}

void UringBackend::submit(Operation& operation) {
  if (!goes_through_ring(operation.kind)) return workers().submit(operation);
  operation.backend_data = kOutside;
  operation.result = 0;
  if (!waiting_.empty() || !prepare(operation)) return waiting_.push_back(operation);
  if (is_transfer(operation.kind) && transfers_prepared_ >= transfers_begun_) begin_transfers();
}

// The disk must not be idle while the reactor processes a batch of requests one by one. So prepared transfers are
// submitted as soon as they are as many as those under way: the first at once, then in ever larger groups.
void UringBackend::begin_transfers() {
  ring_->submit();
  transfers_begun_ += std::exchange(transfers_prepared_, 0);
}

bool UringBackend::prepare(Operation& operation) {
  io_uring_sqe* entry = ring_->next_entry();
  if (entry == nullptr) return false;
  prepare_entry(entry, operation, pinned_);
  io_uring_sqe_set_data64(entry, number_of(operation));
  operation.backend_data |= kInRing;
  if (is_transfer(operation.kind)) ++transfers_prepared_;
  return true;
}

bool UringBackend::prepare_cancel(Operation& operation) {
  io_uring_sqe* entry = ring_->next_entry();
  if (entry == nullptr) return false;
  io_uring_prep_cancel64(entry, number_of(operation), 0);
  io_uring_sqe_set_data64(entry, kNobody);
  return true;
}

void UringBackend::cancel(Operation& operation) {
  if (operation.abandonable) return workers().abandon(operation);
  // All other cancellable operations end soon by themselves.
  if (operation.kind != OperationKind::kPoll) return;
  if ((operation.backend_data & kInRing) != 0) {
    operation.result = -ECANCELED;
    if (!operation.linked() && !prepare_cancel(operation)) to_cancel_.push_back(operation);
    return;
  }
  operation.unlink();
  operation.result = -ECANCELED;
  cancelled_.push_back(operation);
}

// Prepares the operations that found no free entry before. False when some still find none; the next turn, which comes
// soon, tries again.
bool UringBackend::prepare_all() {
  if (!wake_watched_) {
    io_uring_sqe* entry = ring_->next_entry();
    if (entry == nullptr) return false;
    io_uring_prep_poll_add(entry, wake_event().fd(), POLLIN);
    io_uring_sqe_set_data64(entry, kWake);
    wake_watched_ = true;
  }
  while (!waiting_.empty()) {
    if (!prepare(waiting_.front())) return false;
    waiting_.pop_front();
  }
  while (!to_cancel_.empty()) {
    if (!prepare_cancel(to_cancel_.front())) return false;
    to_cancel_.pop_front();
  }
  return true;
}

bool UringBackend::wait(std::uint64_t deadline_ns, OperationList& completed) {
  std::uint64_t longest_ns = prepare_all() ? UINT64_MAX : kRetryNs;
  if (deadline_ns != UINT64_MAX) {
    std::uint64_t now = clock().now_ns();
    longest_ns = std::min(longest_ns, deadline_ns > now ? deadline_ns - now : 0);
  }
  transfers_begun_ += std::exchange(transfers_prepared_, 0);
  ring_->enter(cancelled_.empty() ? longest_ns : 0);
  ring_->drain([&](std::uint64_t number, int result, unsigned flags) {
    if (number == kWake) {
      wake_event().clear();
      wake_watched_ = false;
    } else if (number != kNobody) {
      bool goes_on = (flags & IORING_CQE_F_MORE) != 0;
      finish(*reinterpret_cast<Operation*>(number), result, goes_on, completed);
    }
  });
  workers().take_completed(completed);
  completed.splice_back(cancelled_);
  return true;
}

// The kernel adds POLLRDHUP to every poll, so once the peer has ended its sending direction, a poll for POLLOUT would
// complete at once, again and again. Such a poll is submitted again as a multishot poll, which reports that state once
// and goes on waiting.
void UringBackend::finish_poll(Operation& poll, int result, bool goes_on, OperationList& completed) {
  auto asked_for = static_cast<int>(poll.events | POLLERR | POLLHUP | POLLNVAL);
  // The first matching result counts; later completions only report the end of a multishot poll.
  if (poll.result == 0 && (result < 0 || (result & asked_for) != 0)) poll.result = result;
  if (goes_on) {
    // The poll has its result, but the kernel still holds its address, so it must be cancelled and its end awaited.
    if (poll.result != 0 && !poll.linked()) to_cancel_.push_back(poll);
    return;
  }
  poll.unlink();
  if (poll.result != 0) return completed.push_back(poll);
  poll.backend_data = kRepeats;
  waiting_.push_back(poll);
}

// True if the kernel did not begin the operation: it would have blocked, was interrupted, or no kernel thread could be
// created for it (under a limit on processes the kernel cancels such operations). Then a worker performs it from the
// start.
bool was_not_begun(int result) {
  return result == -EAGAIN || result == -EINTR || result == -ECANCELED;
}

void UringBackend::finish(Operation& operation, int result, bool goes_on, OperationList& completed) {
  if (operation.kind == OperationKind::kPoll) return finish_poll(operation, result, goes_on, completed);
  if (is_transfer(operation.kind)) --transfers_begun_;
  if (was_not_begun(result)) return workers().submit(operation);
  operation.result = result;
  completed.push_back(operation);
}

}  // namespace

Result<std::unique_ptr<Backend>> make_uring_backend(std::uint32_t worker_threads_max, RingOptions options,
                                                    const posix::SystemCalls& calls) {
  TRY_ASSIGN(std::unique_ptr<Ring> ring, Ring::create(options, worker_threads_max));
  auto wake = std::make_unique<posix::WakeEvent>();
  if (!wake->ok()) return fail(Error::system("cannot create an eventfd", Errno::last()));
  return std::make_unique<UringBackend>(std::move(ring), std::move(wake), worker_threads_max, calls);
}

}  // namespace blockexport::aio
