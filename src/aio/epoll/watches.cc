#include "aio/epoll/watches.h"

#include <poll.h>

namespace blockexport::aio {
namespace {

std::uint32_t wanted(OperationList& operations) {
  std::uint32_t events = 0;
  for (Operation& operation : operations) events |= operation.events;
  return events;
}

void complete(Operation& operation, std::int64_t result, OperationList& completed) {
  operation.result = result;
  completed.push_back(operation);
}

bool watch_wake_fd(int epoll, int wake_fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<std::uint32_t>(wake_fd);
  return epoll_ctl(epoll, EPOLL_CTL_ADD, wake_fd, &event) == 0;
}

}  // namespace

std::expected<Watches, Errno> Watches::create(int wake_fd) {
  OwnedFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll || !watch_wake_fd(epoll.get(), wake_fd)) return fail(Errno::last());
  return Watches(std::move(epoll), wake_fd);
}

Watches::Watch& Watches::watch_of(int fd) {
  auto index = static_cast<std::size_t>(fd);
  if (index >= watches_.size()) watches_.resize(index + 1);
  if (watches_[index] == nullptr) watches_[index] = std::make_unique<Watch>();
  return *watches_[index];
}

void Watches::add(Operation& operation, OperationList& completed) {
  if (operation.fd < 0) return complete(operation, -EBADF, completed);
  Watch& watch = watch_of(operation.fd);
  watch.operations.push_back(operation);
  std::uint32_t events = wanted(watch.operations);
  if (watch.kept && watch.armed != 0 && (events & ~watch.armed) == 0) return;
  int error = arm(operation.fd, watch, events);
  if (error == 0) return;
  // A regular file cannot be polled, because it is always ready.
  while (!watch.operations.empty()) {
    Operation& refused = watch.operations.pop_front();
    complete(refused, error == EPERM ? std::int64_t{refused.events} : -error, completed);
  }
}

int Watches::arm(int fd, Watch& watch, std::uint32_t events) {
  epoll_event event{};
  // EPOLLERR is always reported; it is set here so that `armed` of an armed watch is never 0.
  event.events = events | EPOLLERR | (watch.kept ? 0 : EPOLLONESHOT);
  auto control = [&](int what) {
    if (what == EPOLL_CTL_ADD) ++watch.generation;
    event.data.u64 = static_cast<std::uint32_t>(fd) | static_cast<std::uint64_t>(watch.generation) << 32;
    return epoll_ctl(epoll_.get(), what, fd, &event);
  };
  int result = control(watch.registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD);
  // The descriptor was closed since, and its number belongs to another file.
  if (result != 0 && errno == ENOENT) result = control(EPOLL_CTL_ADD);
  watch.registered = result == 0;
  watch.armed = result == 0 ? events | EPOLLERR : 0;
  return result == 0 ? 0 : errno;
}

int Watches::disarm(int fd, Watch& watch) {
  watch.armed = 0;
  watch.registered = false;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) == 0 ? 0 : errno;
}

void Watches::on_event(const epoll_event& event, OperationList& completed) {
  int fd = fd_of(event);
  Watch& watch = *watches_[static_cast<std::size_t>(fd)];
  if (event.data.u64 >> 32 != watch.generation) return recreate_epoll();
  if (!watch.kept) watch.armed = 0;
  OperationList still_waiting;
  bool wanted_by_some = false;
  while (!watch.operations.empty()) {
    Operation& operation = watch.operations.pop_front();
    std::uint32_t ready = event.events & (operation.events | POLLERR | POLLHUP);
    if (ready == 0) {
      still_waiting.push_back(operation);
    } else {
      wanted_by_some = true;
      complete(operation, ready, completed);
    }
  }
  watch.operations.splice_back(still_waiting);
  if (watch.armed != 0 && wanted_by_some) return;
  if (!watch.operations.empty()) {
    int error = arm(fd, watch, wanted(watch.operations));
    while (error != 0 && !watch.operations.empty()) complete(watch.operations.pop_front(), -error, completed);
  } else if (watch.armed != 0 && disarm(fd, watch) != 0) {
    recreate_epoll();
  }
}

// Replaces the epoll instance, because it reports a registration whose descriptor is closed and so cannot be removed.
void Watches::recreate_epoll() {
  OwnedFd fresh(epoll_create1(EPOLL_CLOEXEC));
  // Without a free descriptor the loop keeps the old instance, and wakes up in vain.
  if (!fresh || !watch_wake_fd(fresh.get(), wake_fd_)) return;
  epoll_ = std::move(fresh);
  for (std::size_t fd = 0; fd < watches_.size(); ++fd) {
    if (watches_[fd] == nullptr) continue;
    Watch& watch = *watches_[fd];
    watch.armed = 0;
    watch.registered = false;
    if (!watch.operations.empty()) arm(static_cast<int>(fd), watch, wanted(watch.operations));
  }
}

void Watches::keep(int fd) {
  if (fd < 0) return;
  Watch& watch = watch_of(fd);
  watch.kept = true;
  watch.armed = 0;
  if (!watch.operations.empty()) arm(fd, watch, wanted(watch.operations));
}

void Watches::forget(int fd) {
  auto index = static_cast<std::size_t>(fd);
  if (fd < 0 || index >= watches_.size() || watches_[index] == nullptr) return;
  Watch& watch = *watches_[index];
  if (watch.registered) disarm(fd, watch);
  watch.kept = false;
}

}  // namespace blockexport::aio
