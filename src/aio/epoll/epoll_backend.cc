#include "aio/epoll/epoll_backend.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <unordered_map>

#include "aio/posix/execute.h"
#include "aio/posix/worker_pool.h"
#include "base/owned_fd.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
constexpr std::size_t kEventsPerWait = 256;

// Poll operations that wait on one descriptor. They share its registration with epoll.
struct Watch {
  OperationList operations;
  bool registered = false;
};

class EpollBackend final : public Backend {
 public:
  EpollBackend(OwnedFd epoll, OwnedFd event, std::uint32_t worker_threads_max)
      : epoll_(std::move(epoll)), event_(std::move(event)), workers_(worker_threads_max, [this] { wake(); }) {}

  std::string_view name() const override { return "epoll"; }
  const Clock& clock() const override { return clock_; }

  void submit(Operation& operation) override {
    if (operation.kind == OperationKind::kPoll) {
      watch(operation);
    } else {
      workers_.submit(operation);
    }
  }

  void cancel(Operation& operation) override {
    // A worker's operation ends when it ends.
    if (operation.kind != OperationKind::kPoll) return;
    operation.unlink();
    complete(operation, -ECANCELED);
    // An empty watch stays registered for one stray event at most: registrations are one-shot.
  }

  void wait(std::uint64_t deadline_ns, OperationList& completed) override;

  void wake() override {
    std::uint64_t one = 1;
    [[maybe_unused]] ssize_t written = ::write(event_.get(), &one, sizeof one);
  }

  IoCount try_receive(int fd, std::span<std::byte> buffer) override { return posix::try_receive(fd, buffer); }
  IoCount try_send(int fd, std::span<const iovec> vectors) override { return posix::try_send(fd, vectors); }
  IoCount try_read(int fd, std::span<const iovec> vectors, std::uint64_t offset) override {
    return posix::try_read(fd, vectors, offset);
  }
  IoCount try_write(int fd, std::span<const iovec> vectors, std::uint64_t offset) override {
    return posix::try_write(fd, vectors, offset);
  }
  std::expected<int, Errno> try_accept(int fd) override { return posix::try_accept(fd); }
  void shut_down(int fd) override { ::shutdown(fd, SHUT_RDWR); }
  void close(int fd) override {
    watches_.erase(fd);
    ::close(fd);
  }

 private:
  void watch(Operation& operation);
  void arm(int fd, Watch& watch);
  void on_event(int fd, std::uint32_t events);
  void complete(Operation& operation, std::int64_t result) {
    operation.result = result;
    immediate_.push_back(operation);
  }

  SystemClock clock_;
  OwnedFd epoll_;
  OwnedFd event_;
  std::unordered_map<int, Watch> watches_;
  OperationList immediate_;  // complete, to be handed out by the next wait()
  posix::WorkerPool workers_;
};

void EpollBackend::watch(Operation& operation) {
  Watch& watch = watches_[operation.fd];
  watch.operations.push_back(operation);
  arm(operation.fd, watch);
}

// Registers for all that is waited for on this descriptor, for one event.
void EpollBackend::arm(int fd, Watch& watch) {
  epoll_event event{};
  event.data.fd = fd;
  event.events = EPOLLONESHOT;
  for (Operation& operation : watch.operations) event.events |= operation.events;
  int result = epoll_ctl(epoll_.get(), watch.registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
  // The number may have been closed and used again behind our back, as with descriptors that are only borrowed.
  if (result != 0 && errno == ENOENT) result = epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  if (result != 0 && errno == EEXIST) result = epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
  watch.registered = result == 0;
  if (result == 0) return;
  // A regular file cannot be polled, because it is always ready.
  int error = errno;
  while (!watch.operations.empty()) {
    Operation& operation = watch.operations.pop_front();
    complete(operation, error == EPERM ? operation.events : -error);
  }
}

void EpollBackend::on_event(int fd, std::uint32_t events) {
  auto found = watches_.find(fd);
  if (found == watches_.end()) return;
  Watch& watch = found->second;
  OperationList still_waiting;
  while (!watch.operations.empty()) {
    Operation& operation = watch.operations.pop_front();
    std::uint32_t ready = events & (operation.events | POLLERR | POLLHUP);
    if (ready != 0) {
      complete(operation, ready);
    } else {
      still_waiting.push_back(operation);
    }
  }
  watch.operations.splice_back(still_waiting);
  if (!watch.operations.empty()) arm(fd, watch);
}

void EpollBackend::wait(std::uint64_t deadline_ns, OperationList& completed) {
  int timeout_ms = -1;
  if (!immediate_.empty()) {
    timeout_ms = 0;
  } else if (deadline_ns != UINT64_MAX) {
    std::uint64_t now = clock_.now_ns();
    std::uint64_t wait_ns = deadline_ns > now ? deadline_ns - now : 0;
    std::uint64_t wait_ms = (wait_ns + kNanosecondsPerMillisecond - 1) / kNanosecondsPerMillisecond;
    timeout_ms = static_cast<int>(std::min<std::uint64_t>(wait_ms, INT32_MAX));
  }
  std::array<epoll_event, kEventsPerWait> events;
  int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < count; ++i) {
    if (events[i].data.fd == event_.get()) {
      std::uint64_t wakes;
      [[maybe_unused]] ssize_t taken = ::read(event_.get(), &wakes, sizeof wakes);
    } else {
      on_event(events[i].data.fd, events[i].events);
    }
  }
  workers_.take_completed(completed);
  completed.splice_back(immediate_);
}

}  // namespace

Result<std::unique_ptr<Backend>> make_epoll_backend(std::uint32_t worker_threads_max) {
  OwnedFd epoll(epoll_create1(EPOLL_CLOEXEC));
  OwnedFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll || !event) return fail(Error::system("cannot create an epoll instance", Errno::last()));
  epoll_event wake{};
  wake.events = EPOLLIN;
  wake.data.fd = event.get();
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, event.get(), &wake) != 0) {
    return fail(Error::system("cannot watch an eventfd", Errno::last()));
  }
  return std::make_unique<EpollBackend>(std::move(epoll), std::move(event), worker_threads_max);
}

}  // namespace blockexport::aio
