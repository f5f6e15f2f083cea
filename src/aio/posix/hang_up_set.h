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
  IoResult add(int fd, HangUpWatch& watch);
  void remove(int fd);
  // Appends the watches whose peers have hung up since they were collected last, each at least once.
  void collect(std::vector<HangUpWatch*>& hung_up);

 private:
  OwnedFd epoll_;  // made with the first watch
};

}  // namespace blockexport::aio::posix
