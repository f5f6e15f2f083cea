// HangUpSet: a separate epoll instance for the hang-ups of one reactor's connections. Owned by a backend. Thread: its
// reactor's.
#pragma once

#include <vector>

#include "aio/operation/hang_up_watch.h"
#include "base/errno.h"
#include "base/owned_fd.h"

namespace blockexport::aio::posix {

class HangUpSet {
 public:
  // Opens the epoll instance now, so that the number of open descriptors does not change with the first client.
  HangUpSet();

  IoResult add(int fd, HangUpWatch& watch);
  void remove(int fd);
  // Appends the watches whose peers have hung up since the last call, each at least once.
  void collect(std::vector<HangUpWatch*>& hung_up);

 private:
  OwnedFd epoll_;  // empty when the process had no descriptor left; add() tries again
};

}  // namespace blockexport::aio::posix
