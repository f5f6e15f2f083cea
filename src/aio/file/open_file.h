// OpenFile: a shared file descriptor, used by the driver that opened it and by replies that still send from it. The
// last user closes it.
//
// Shared by pointer; any thread may destroy it, because a file's descriptor is never polled. Its reactor outlives it.
#pragma once

#include "aio/reactor/reactor.h"

namespace blockexport::aio {

class OpenFile {
 public:
  // Takes ownership of `fd`.
  OpenFile(Reactor& reactor, int fd) : reactor_(reactor), fd_(fd) {}
  ~OpenFile() { reactor_.close_file(fd_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int fd() const { return fd_; }

 private:
  Reactor& reactor_;
  int fd_;
};

}  // namespace blockexport::aio
