#include "aio/uring/ring.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "aio/memory/slabs.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
// Pause before entries that the kernel did not accept are submitted again.
constexpr std::uint64_t kRefusedPauseNs = 1'000'000;

struct Opcode {
  int number;
  const char* name;
};
constexpr Opcode kOpcodes[] = {
    {IORING_OP_POLL_ADD, "POLL_ADD"}, {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL"},
    {IORING_OP_READ, "READ"},         {IORING_OP_READV, "READV"},
    {IORING_OP_WRITE, "WRITE"},       {IORING_OP_WRITEV, "WRITEV"},
    {IORING_OP_FSYNC, "FSYNC"},       {IORING_OP_FALLOCATE, "FALLOCATE"},
};
// A timeout in the wait itself, no lost completions, and multishot polls, which Linux has since the same version as
// tags.
constexpr unsigned kFeatures = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_RSRC_TAGS;

// Best first; a kernel that does not know a flag answers EINVAL.
constexpr unsigned kCommonFlags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
constexpr unsigned kFlags[] = {
    kCommonFlags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
        IORING_SETUP_TASKRUN_FLAG,
    kCommonFlags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    kCommonFlags,
};

std::string likely_cause(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return "A seccomp profile (as in containers) or the sysctl kernel.io_uring_disabled forbids io_uring.";
    case ENOSYS:
      return "The kernel was built without io_uring, or a seccomp profile hides it.";
    case ENOMEM:
      return "The limit on locked memory is too small for a ring: see ulimit -l.";
    default:
      return "";
  }
}

}  // namespace

Result<std::unique_ptr<Ring>> Ring::create(RingOptions options, unsigned kernel_threads_max) {
  std::unique_ptr<Ring> made(new Ring(options.calls));
  int error = made->set_up(options);
  if (error != 0) {
    return fail(Error::system("io_uring is not available", Errno(error)).with_hint(likely_cause(error)));
  }
  TRY(made->check_opcodes());
  if (options.restricted) {
    error = made->restrict();
    if (error != 0) return fail(Error::system("io_uring is not available: cannot restrict a ring", Errno(error)));
  }
  // Both are optional: without them the ring is only slower.
  io_uring_register_ring_fd(&made->ring_);
  std::array<unsigned, 2> workers = {kernel_threads_max, kernel_threads_max};
  io_uring_register_iowq_max_workers(&made->ring_, workers.data());
  return made;
}

int Ring::set_up(const RingOptions& options) {
  int result = -EINVAL;
  for (unsigned flags : kFlags) {
    io_uring_params parameters{};
    parameters.flags = flags | (options.restricted ? IORING_SETUP_R_DISABLED : 0u);
    parameters.cq_entries = options.completions;
    result = io_uring_queue_init_params(options.entries, &ring_, &parameters);
    if (result != -EINVAL) break;
  }
  made_ = result == 0;
  return -result;
}

Result<> Ring::check_opcodes() {
  if ((ring_.features & kFeatures) != kFeatures) {
    return fail(Error("io_uring is not available: the kernel is too old").with_hint("Linux 5.13 or newer is needed."));
  }
  io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
  if (probe == nullptr) return fail("io_uring is not available: the probe of its operations failed");
  const char* missing = nullptr;
  for (const Opcode& opcode : kOpcodes) {
    if (!io_uring_opcode_supported(probe, opcode.number)) missing = opcode.name;
  }
  can_pin_ = io_uring_opcode_supported(probe, IORING_OP_READ_FIXED) != 0 &&
             io_uring_opcode_supported(probe, IORING_OP_WRITE_FIXED) != 0;
  io_uring_free_probe(probe);
  if (missing != nullptr) return fail(fmt::format("io_uring is not available: the kernel lacks {}", missing));
  return {};
}

// A ring that was made disabled takes restrictions, and operations once it is enabled (io_uring_register(2)). The calls
// of the backend that prepare slabs and threads stay possible.
int Ring::restrict() {
  std::vector<io_uring_restriction> allowed;
  const auto allow = [&](unsigned kind, int number) {
    io_uring_restriction one{};
    one.opcode = static_cast<std::uint16_t>(kind);
    one.sqe_op = static_cast<std::uint8_t>(number);  // a union with register_op and sqe_flags
    allowed.push_back(one);
  };
  for (const Opcode& opcode : kOpcodes) allow(IORING_RESTRICTION_SQE_OP, opcode.number);
  for (int number : {IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED}) allow(IORING_RESTRICTION_SQE_OP, number);
  for (int number : {IORING_REGISTER_IOWQ_MAX_WORKERS, IORING_REGISTER_RING_FDS, IORING_UNREGISTER_RING_FDS,
                     IORING_REGISTER_BUFFERS2, IORING_REGISTER_BUFFERS_UPDATE}) {
    allow(IORING_RESTRICTION_REGISTER_OP, number);
  }
  // liburing 2.3 declares functions for the two calls, and its library does not have them.
  const auto call = [this](unsigned code, const void* argument, unsigned count) {
    return syscall(SYS_io_uring_register, ring_.ring_fd, code, argument, count) == 0 ? 0 : errno;
  };
  const int error = call(IORING_REGISTER_RESTRICTIONS, allowed.data(), static_cast<unsigned>(allowed.size()));
  return error != 0 ? error : call(IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
}

bool Ring::set_pinned(unsigned number, iovec memory) {
  return io_uring_register_buffers_update_tag(&ring_, number, &memory, nullptr, 1) == 1;
}

bool Ring::pin(unsigned number, std::span<std::byte> memory) {
  if (can_pin_ && !has_table_) {
    can_pin_ = io_uring_register_buffers_sparse(&ring_, Slabs::kSlabsMax) == 0;
    has_table_ = can_pin_;
  }
  return can_pin_ && set_pinned(number, iovec{memory.data(), memory.size()});
}

void Ring::unpin(unsigned number) {
  (void)set_pinned(number, iovec{});
}

Ring::~Ring() {
  if (made_) io_uring_queue_exit(&ring_);
}

io_uring_sqe* Ring::next_entry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry != nullptr) return entry;
  calls_.submit(ring_);
  return io_uring_get_sqe(&ring_);
}

bool Ring::kernel_has_work() const {
  unsigned flags = IO_URING_READ_ONCE(*ring_.sq.kflags);
  // Without TASKRUN_FLAG the kernel runs its pending work whenever this thread makes any system call.
  return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

void Ring::enter(std::uint64_t timeout_ns) {
  if (timeout_ns == 0 || io_uring_cq_ready(&ring_) > 0) {
    if (io_uring_sq_ready(&ring_) > 0 || kernel_has_work()) calls_.submit_and_get_events(ring_);
    return;
  }
  __kernel_timespec timeout{};
  timeout.tv_sec = static_cast<std::int64_t>(timeout_ns / kNanosecondsPerSecond);
  timeout.tv_nsec = static_cast<std::int64_t>(timeout_ns % kNanosecondsPerSecond);
  const int result = calls_.submit_and_wait(ring_, timeout_ns == UINT64_MAX ? nullptr : &timeout);
  // The kernel is short of memory: it accepted no entry and did not wait. Operations that it already has may free
  // memory when they complete.
  if (result == -EAGAIN || result == -EBUSY || result == -ENOMEM) wait_briefly(timeout_ns);
}

void Ring::wait_briefly(std::uint64_t timeout_ns) {
  __kernel_timespec timeout{.tv_sec = 0, .tv_nsec = static_cast<long long>(std::min(timeout_ns, kRefusedPauseNs))};
  io_uring_cqe* ignored;
  io_uring_wait_cqe_timeout(&ring_, &ignored, &timeout);
}

}  // namespace blockexport::aio
