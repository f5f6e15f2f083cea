// Watches: which poll operations wait on which descriptor, and what epoll has been told about it.
//
// A registration is good for one event, because a descriptor may be closed, and its number given to another file,
// without a word to us. Where the owner has promised a word (keep(), then forget()), it stays armed after it has fired,
// so that a task which polls again before the next wait costs no system call; it is taken back when it fires and nobody
// waits. A kept one that was closed elsewhere after all, while another process holds the same open file, would fire for
// ever; that is noticed, and epoll is begun anew. Owned by the epoll backend. Thread: the reactor's.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "aio/operation.h"
#include "base/owned_fd.h"

namespace blockexport::aio {

class Watches {
 public:
  // `wake_fd` is registered too, and reported as itself.
  static std::expected<Watches, Errno> create(int wake_fd);
  Watches(Watches&&) = default;

  // What completes here is appended to `completed`.
  void add(Operation& operation, OperationList& completed);
  void on_event(const epoll_event& event, OperationList& completed);
  // `fd` is closed only after forget().
  void keep(int fd);
  void forget(int fd);

  static int fd_of(const epoll_event& event) { return static_cast<int>(event.data.u64 & UINT32_MAX); }
  int epoll_fd() const { return epoll_.get(); }

 private:
  struct Watch {
    OperationList operations;
    std::uint32_t armed = 0;  // what epoll will report
    bool registered = false;  // as far as we know
    bool kept = false;
    std::uint32_t generation = 0;  // tells events of an earlier open file of the same number
  };

  Watches(OwnedFd epoll, int wake_fd) : epoll_(std::move(epoll)), wake_fd_(wake_fd) {}
  Watch& watch_of(int fd);
  // Makes `events` what epoll reports; 0 or an errno.
  int arm(int fd, Watch& watch, std::uint32_t events);
  int disarm(int fd, Watch& watch);
  void begin_anew();

  OwnedFd epoll_;
  int wake_fd_;
  std::vector<std::unique_ptr<Watch>> watches_;  // by descriptor
};

}  // namespace blockexport::aio
