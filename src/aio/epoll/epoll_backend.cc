#include "aio/epoll/epoll_backend.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "aio/epoll/watches.h"
#include "aio/posix/posix_backend.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
constexpr std::size_t kEventsPerWait = 256;

class EpollBackend final : public posix::PosixBackend {
 public:
  EpollBackend(Watches watches, std::unique_ptr<posix::WakeEvent> wake, std::uint32_t worker_threads_max,
               const posix::SystemCalls& calls)
      : PosixBackend(std::move(wake), worker_threads_max, calls), watches_(std::move(watches)) {}

  std::string_view name() const override { return "epoll"; }

  void submit(Operation& operation) override {
    if (operation.kind == OperationKind::kPoll) {
      watches_.add(operation, completed_);
    } else {
      if (operation.kind == OperationKind::kClose) watches_.forget(operation.fd);
      workers().submit(operation);
    }
  }

  void cancel(Operation& operation) override {
    if (operation.abandonable) return workers().abandon(operation);
    // All other cancellable operations end soon by themselves.
    if (operation.kind != OperationKind::kPoll) return;
    operation.unlink();
    operation.result = -ECANCELED;
    completed_.push_back(operation);
  }

  bool wait(std::uint64_t deadline_ns, OperationList& completed) override;

  void keep_watch(int fd) override { watches_.keep(fd); }
  void drop_watch(int fd) override { watches_.forget(fd); }

  void close(int fd) override {
    watches_.forget(fd);
    ::close(fd);
  }

 private:
  int timeout_ms(std::uint64_t deadline_ns) const;

  Watches watches_;
  OperationList completed_;  // operations that the next wait() returns
};

int EpollBackend::timeout_ms(std::uint64_t deadline_ns) const {
  if (deadline_ns == UINT64_MAX) return -1;
  std::uint64_t now = clock().now_ns();
  std::uint64_t wait_ns = deadline_ns > now ? deadline_ns - now : 0;
  std::uint64_t wait_ms = (wait_ns + kNanosecondsPerMillisecond - 1) / kNanosecondsPerMillisecond;
  return static_cast<int>(std::min<std::uint64_t>(wait_ms, INT32_MAX));
}

bool EpollBackend::wait(std::uint64_t deadline_ns, OperationList& completed) {
  int timeout = completed_.empty() ? timeout_ms(deadline_ns) : 0;
  std::array<epoll_event, kEventsPerWait> events;
  int count = epoll_wait(watches_.epoll_fd(), events.data(), static_cast<int>(events.size()), timeout);
  for (int i = 0; i < count; ++i) {
    if (Watches::fd_of(events[i]) == wake_event().fd()) {
      wake_event().clear();
    } else {
      watches_.on_event(events[i], completed_);
    }
  }
  workers().take_completed(completed);
  completed.splice_back(completed_);
  return true;
}

}  // namespace

Result<std::unique_ptr<Backend>> make_epoll_backend(std::uint32_t worker_threads_max, const posix::SystemCalls& calls) {
  auto wake = std::make_unique<posix::WakeEvent>();
  if (!wake->ok()) return fail(Error::system("cannot create an eventfd", Errno::last()));
  auto watches = Watches::create(wake->fd());
  if (!watches) return fail(Error::system("cannot create an epoll instance", watches.error()));
  return std::make_unique<EpollBackend>(std::move(*watches), std::move(wake), worker_threads_max, calls);
}

}  // namespace blockexport::aio
