// OpenFile: a descriptor of a file that several users keep open: the driver that opened it, and replies that still send
// from it. It is closed with the last of them.
//
// Shared by pointer; may die on any thread, because a file's descriptor is never watched. Its reactor outlives it.
#pragma once

#include "aio/reactor.h"

namespace blockexport::aio {

class OpenFile {
 public:
  // `fd` belongs to it from now on.
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
