// WakeEvent: an eventfd with which other threads end a reactor's wait. Many wake-ups before one wait cost one system
// call. Thread: wake(): any, async-signal-safe; the others: the reactor's.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "base/owned_fd.h"

namespace blockexport::aio::posix {

class WakeEvent {
 public:
  // ok() is false when the eventfd could not be created.
  WakeEvent() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  bool ok() const { return static_cast<bool>(fd_); }
  // Readable when woken.
  int fd() const { return fd_.get(); }

  void wake() {
    if (woken_.exchange(true, std::memory_order_acq_rel)) return;
    std::uint64_t one = 1;
    [[maybe_unused]] ssize_t written = ::write(fd_.get(), &one, sizeof one);
  }

  // Call it before reading the queues that the waking threads filled.
  void clear() {
    std::uint64_t wakes;
    [[maybe_unused]] ssize_t taken = ::read(fd_.get(), &wakes, sizeof wakes);
    woken_.exchange(false, std::memory_order_acq_rel);
  }

 private:
  static_assert(std::atomic<bool>::is_always_lock_free);
  OwnedFd fd_;
  std::atomic<bool> woken_ = false;
};

}  // namespace blockexport::aio::posix
