#include "aio/posix/hang_up_set.h"

#include <sys/epoll.h>

#include <array>
#include <cerrno>

#include "aio/posix/retry.h"

namespace blockexport::aio::posix {
namespace {

// Hang-ups per epoll_wait(2).
constexpr int kHangUpsPerCall = 64;

}  // namespace

HangUpSet::HangUpSet() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

IoResult HangUpSet::add(int fd, HangUpWatch& watch) {
  if (!epoll_) epoll_ = OwnedFd(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return fail(errno);
  // Edge-triggered: each hang-up is reported once, not at every query. Arriving data alone causes no event.
  epoll_event event{.events = EPOLLRDHUP | EPOLLET, .data = {}};
  event.data.ptr = &watch;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail(errno);
  return {};
}

void HangUpSet::remove(int fd) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void HangUpSet::collect(std::vector<HangUpWatch*>& hung_up) {
  if (!epoll_) return;
  std::array<epoll_event, kHangUpsPerCall> events;
  for (;;) {
    std::int64_t count = retry([&] { return epoll_wait(epoll_.get(), events.data(), kHangUpsPerCall, 0); });
    for (std::int64_t i = 0; i < count; ++i) {
      hung_up.push_back(static_cast<HangUpWatch*>(events[static_cast<std::size_t>(i)].data.ptr));
    }
    if (count < kHangUpsPerCall) return;
  }
}

}  // namespace blockexport::aio::posix
