// HangUpSet: the descriptors of one reactor whose hang-ups somebody watches, in an epoll instance of their own.
// Owned by a backend. Thread: its reactor's.
#pragma once

#include <vector>

#include "aio/hang_up_watch.h"
#include "base/errno.h"
#include "base/owned_fd.h"

namespace blockexport::aio::posix {

class HangUpSet {
 public:
  // Takes a descriptor now, so that the number of those that are open does not grow with the first client.
  HangUpSet();

  IoResult add(int fd, HangUpWatch& watch);
  void remove(int fd);
  // Appends the watches whose peers have hung up since they were collected last, each at least once.
  void collect(std::vector<HangUpWatch*>& hung_up);

 private:
  OwnedFd epoll_;  // none while the process has no descriptor left: add() tries again
};

}  // namespace blockexport::aio::posix
