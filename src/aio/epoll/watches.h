// Watches: poll operations by descriptor, and their registrations with epoll.
//
// A registration is one-shot (EPOLLONESHOT), because a descriptor may be closed, and its number reused, without a call
// of forget(). After keep(), with which the owner promises that call, it stays armed after an event, so that a task
// that polls again before the next wait costs no system call; it is removed when an event comes and nobody waits. If a
// kept descriptor was closed elsewhere while another process holds the same open file, epoll would report it for ever;
// on_event() detects this and creates a new epoll instance. Owned by the epoll backend. Thread: the reactor's.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "aio/operation/operation.h"
#include "base/owned_fd.h"

namespace blockexport::aio {

class Watches {
 public:
  // Registers `wake_fd` too; its events carry its number (fd_of()).
  static std::expected<Watches, Errno> create(int wake_fd);
  Watches(Watches&&) = default;

  // Both append the operations that complete at once to `completed`.
  void add(Operation& operation, OperationList& completed);
  void on_event(const epoll_event& event, OperationList& completed);
  // Makes the registration of `fd` permanent; the owner calls forget() before it closes `fd`.
  void keep(int fd);
  void forget(int fd);

  static int fd_of(const epoll_event& event) { return static_cast<int>(event.data.u64 & UINT32_MAX); }
  int epoll_fd() const { return epoll_.get(); }

 private:
  struct Watch {
    OperationList operations;
    std::uint32_t armed = 0;  // events that epoll reports; 0: none
    bool registered = false;  // false once we know that it is not
    bool kept = false;
    std::uint32_t generation = 0;  // distinguishes events of an earlier open file with the same number
  };

  Watches(OwnedFd epoll, int wake_fd) : epoll_(std::move(epoll)), wake_fd_(wake_fd) {}
  Watch& watch_of(int fd);
  // Makes epoll report `events`; returns 0 or an errno.
  int arm(int fd, Watch& watch, std::uint32_t events);
  int disarm(int fd, Watch& watch);
  void recreate_epoll();

  OwnedFd epoll_;
  int wake_fd_;
  std::vector<std::unique_ptr<Watch>> watches_;  // indexed by descriptor
};

}  // namespace blockexport::aio
