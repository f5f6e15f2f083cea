#include "aio/testing/odd_kernel.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "aio/epoll/epoll_backend.h"
#include "aio/uring/uring_backend.h"
#include "base/owned_fd.h"

namespace blockexport::aio::testing {
namespace {

// The vectors of the first `bytes` bytes.
std::vector<iovec> first_of(std::span<const iovec> vectors, std::uint64_t bytes) {
  std::vector<iovec> first;
  for (iovec vector : vectors) {
    vector.iov_len = std::min<std::uint64_t>(vector.iov_len, bytes);
    if (vector.iov_len == 0) break;
    bytes -= vector.iov_len;
    first.push_back(vector);
  }
  return first;
}

// Moves the first `bytes` of a transfer through the page cache, which allows every length; returns the result, or minus
// an errno.
std::int64_t move_part(OperationKind kind, int fd, std::span<const iovec> vectors, off_t offset, int flags,
                       std::uint64_t bytes) {
  const std::vector<iovec> part = first_of(vectors, bytes);
  if (part.empty()) return 0;
  const int access = fcntl(fd, F_GETFL) & O_ACCMODE;
  OwnedFd cached(open(fmt::format("/proc/self/fd/{}", fd).c_str(), access | O_CLOEXEC));
  if (cached.get() < 0) return -errno;
  const auto count = static_cast<int>(part.size());
  const ssize_t moved = kind == OperationKind::kRead ? preadv2(cached.get(), part.data(), count, offset, flags)
                                                     : pwritev2(cached.get(), part.data(), count, offset, flags);
  if (moved < 0) return -errno;
  // O_DIRECT readers must find the data on the disk.
  return kind == OperationKind::kRead || fdatasync(cached.get()) == 0 ? moved : -errno;
}

int as_errno(std::int64_t result) {
  if (result >= 0) return static_cast<int>(result);
  errno = static_cast<int>(-result);
  return -1;
}

std::string path_of(int fd) {
  std::error_code ignored;
  return std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd), ignored).string();
}

}  // namespace

class OddKernel::Calls final : public posix::SystemCalls {
 public:
  explicit Calls(OddKernel& kernel) : kernel_(kernel) {}

  ssize_t preadv2(int fd, const iovec* vectors, int count, off_t offset, int flags) const override {
    if (std::optional<std::int64_t> answer = transfer(OperationKind::kRead, fd, vectors, count, offset, flags)) {
      return as_errno(*answer);
    }
    return SystemCalls::preadv2(fd, vectors, count, offset, flags);
  }
  ssize_t pwritev2(int fd, const iovec* vectors, int count, off_t offset, int flags) const override {
    if (std::optional<std::int64_t> answer = transfer(OperationKind::kWrite, fd, vectors, count, offset, flags)) {
      return as_errno(*answer);
    }
    return SystemCalls::pwritev2(fd, vectors, count, offset, flags);
  }
  int fdatasync(int fd) const override { return fails(OperationKind::kSync, fd) ? -1 : SystemCalls::fdatasync(fd); }
  int fallocate(int fd, int mode, off_t offset, off_t length) const override {
    return fails(OperationKind::kAllocate, fd) ? -1 : SystemCalls::fallocate(fd, mode, offset, length);
  }
  int ftruncate(int fd, off_t length) const override {
    return fails(OperationKind::kTruncate, fd) ? -1 : SystemCalls::ftruncate(fd, length);
  }
  ssize_t recv(int fd, void* bytes, std::size_t length, int flags) const override {
    if (kernel_.socket_call_fails()) return -1;
    return SystemCalls::recv(fd, bytes, std::min(length, kernel_.socket_bytes_max()), flags);
  }
  ssize_t sendmsg(int fd, const msghdr* message, int flags) const override {
    if (kernel_.socket_call_fails()) return -1;
    std::vector<iovec> part = first_of(std::span(message->msg_iov, message->msg_iovlen), kernel_.socket_bytes_max());
    msghdr shorter = *message;
    shorter.msg_iov = part.data();
    shorter.msg_iovlen = part.size();
    return SystemCalls::sendmsg(fd, &shorter, flags);
  }
  ssize_t sendfile(int to, int from, off_t* offset, std::size_t count) const override {
    if (kernel_.socket_call_fails()) return -1;
    return SystemCalls::sendfile(to, from, offset, std::min(count, kernel_.socket_bytes_max()));
  }

 private:
  std::optional<std::int64_t> transfer(OperationKind kind, int fd, const iovec* vectors, int count, off_t offset,
                                       int flags) const {
    const bool immediate = kernel_.in_loop();
    if (immediate && kernel_.is_barred(kind)) return -EAGAIN;
    const std::optional<Fault> fault = kernel_.take(kind, fd, immediate);
    if (!fault) return std::nullopt;
    if (fault->error != 0) return -fault->error;
    if (!fault->moved_bytes) return std::nullopt;
    return move_part(kind, fd, std::span(vectors, static_cast<std::size_t>(count)), offset, flags, *fault->moved_bytes);
  }
  bool fails(OperationKind kind, int fd) const {
    const std::optional<Fault> fault = kernel_.take(kind, fd, false);
    if (!fault || fault->error == 0) return false;
    errno = fault->error;
    return true;
  }

  OddKernel& kernel_;
};

// Handles ring entries to which a fault applies: it turns them into no-ops, and replaces the results of their
// completions.
class OddKernel::Entries final : public RingCalls {
 public:
  explicit Entries(OddKernel& kernel) : kernel_(kernel) {}

  int submit(io_uring& ring) const override {
    int error = 0;
    answer_entries(ring);
    return kernel_.is_entry_refused(error) ? -error : RingCalls::submit(ring);
  }
  int submit_and_get_events(io_uring& ring) const override {
    int error = 0;
    answer_entries(ring);
    return kernel_.is_entry_refused(error) ? -error : RingCalls::submit_and_get_events(ring);
  }
  int submit_and_wait(io_uring& ring, __kernel_timespec* timeout) const override {
    int error = 0;
    answer_entries(ring);
    return kernel_.is_entry_refused(error) ? -error : RingCalls::submit_and_wait(ring, timeout);
  }
  unsigned completions_ready(io_uring& ring) const override {
    const unsigned ready = RingCalls::completions_ready(ring);
    unsigned head;
    unsigned count = 0;
    io_uring_cqe* completion;
    io_uring_for_each_cqe(&ring, head, completion) {
      if (count++ == ready) break;
      auto found = kernel_.results_.find(completion->user_data);
      if (found == kernel_.results_.end()) continue;
      completion->res = found->second;
      kernel_.results_.erase(found);
    }
    return ready;
  }

 private:
  // Handles the entries that were prepared since the last call that submitted entries, or tried to.
  void answer_entries(io_uring& ring) const {
    io_uring_sq& queue = ring.sq;
    for (unsigned at = seen_before(ring); at != queue.sqe_tail; ++at) answer(queue.sqes[at & *queue.kring_mask]);
    seen_[&ring] = queue.sqe_tail;
  }
  unsigned seen_before(const io_uring& ring) const {
    auto found = seen_.find(&ring);
    return found == seen_.end() ? 0 : found->second;
  }
  void answer(io_uring_sqe& entry) const {
    const std::optional<OperationKind> kind = kind_of(entry);
    if (!kind) return;
    const std::optional<Fault> fault = kernel_.take(*kind, entry.fd, false);
    if (!fault) return;
    std::int64_t result = -fault->error;
    if (fault->error == 0) {
      if (!fault->moved_bytes || (*kind != OperationKind::kRead && *kind != OperationKind::kWrite)) return;
      result = move_part(*kind, entry.fd, vectors_of(entry), static_cast<off_t>(entry.off), entry.rw_flags,
                         *fault->moved_bytes);
    }
    const std::uint64_t number = entry.user_data;
    io_uring_prep_nop(&entry);
    entry.user_data = number;
    kernel_.results_[number] = static_cast<int>(result);
  }
  static std::optional<OperationKind> kind_of(const io_uring_sqe& entry) {
    switch (entry.opcode) {
      case IORING_OP_READ:
      case IORING_OP_READV:
      case IORING_OP_READ_FIXED:
        return OperationKind::kRead;
      case IORING_OP_WRITE:
      case IORING_OP_WRITEV:
      case IORING_OP_WRITE_FIXED:
        return OperationKind::kWrite;
      case IORING_OP_FSYNC:
        return OperationKind::kSync;
      case IORING_OP_FALLOCATE:
        return OperationKind::kAllocate;
      default:
        return std::nullopt;
    }
  }
  static std::vector<iovec> vectors_of(const io_uring_sqe& entry) {
    if (entry.opcode == IORING_OP_READV || entry.opcode == IORING_OP_WRITEV) {
      const auto* vectors = reinterpret_cast<const iovec*>(entry.addr);
      return {vectors, vectors + entry.len};
    }
    return {iovec{.iov_base = reinterpret_cast<void*>(entry.addr), .iov_len = entry.len}};
  }

  OddKernel& kernel_;
  mutable std::map<const io_uring*, unsigned> seen_;  // submission queue index of each ring up to which entries were
                                                      // handled
};

void OddKernel::inject(Fault fault) {
  std::lock_guard lock(mutex_);
  faults_.push_back(std::move(fault));
}

void OddKernel::clear_faults() {
  std::lock_guard lock(mutex_);
  faults_.clear();
}

void OddKernel::set_sockets(OddSockets sockets) {
  std::lock_guard lock(mutex_);
  sockets_ = sockets;
}

void OddKernel::refuse_entries(int error, std::uint64_t count) {
  std::lock_guard lock(mutex_);
  entry_error_ = error;
  entries_refused_ = count;
}

std::optional<Fault> OddKernel::take(OperationKind kind, int fd, bool immediate) {
  std::lock_guard lock(mutex_);
  if (faults_.empty()) return std::nullopt;
  const std::string path = path_of(fd);
  std::optional<Fault> fault = take_fault(faults_, {.kind = kind, .path = path, .immediate = immediate});
  if (fault) ++faults_met_;
  return fault;
}

bool OddKernel::is_barred(OperationKind kind) {
  std::lock_guard lock(mutex_);
  return std::ranges::any_of(
      faults_, [&](const Fault& fault) { return fault.kind == kind && !fault.immediate && fault.count > 0; });
}

bool OddKernel::is_entry_refused(int& error) {
  std::lock_guard lock(mutex_);
  if (entries_refused_ == 0) return false;
  --entries_refused_;
  ++refusals_;
  error = entry_error_;
  return true;
}

bool OddKernel::socket_call_fails() {
  std::lock_guard lock(mutex_);
  const std::uint64_t number = socket_calls_++;
  if (sockets_.interrupted && number % 2 == 0) {
    errno = EINTR;
    return true;
  }
  if (sockets_.refused && number / 2 % 3 == 0) {
    errno = EAGAIN;
    return true;
  }
  return false;
}

std::size_t OddKernel::socket_bytes_max() {
  std::lock_guard lock(mutex_);
  return sockets_.moved_bytes_max;
}

OddKernel::OddKernel() : calls_(std::make_unique<Calls>(*this)), entries_(std::make_unique<Entries>(*this)) {}

OddKernel::~OddKernel() = default;

Result<std::unique_ptr<Backend>> OddKernel::make_backend(std::string_view name, std::uint32_t worker_threads_max) {
  if (name == "epoll") return make_epoll_backend(worker_threads_max, *calls_);
  return make_uring_backend(worker_threads_max, {.calls = *entries_}, *calls_);
}

Result<std::unique_ptr<Backend>> OddKernel::make_ring(unsigned entries, unsigned completions) {
  constexpr std::uint32_t kThreads = 4;
  return make_uring_backend(kThreads, {.entries = entries, .completions = completions, .calls = *entries_}, *calls_);
}

}  // namespace blockexport::aio::testing
