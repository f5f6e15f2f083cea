// SystemCalls: the system calls for file and socket data, each as its manual page describes it.
//
// The backends over real descriptors make them through this interface, so that a test can replace it and give rare
// results: short counts, interruptions, refusals (aio/testing/odd_kernel.h). It has no state; all backends share
// kSystemCalls. A virtual call adds little to a system call. Any thread: workers call it too.
#pragma once

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>

namespace blockexport::aio::posix {

class SystemCalls {
 public:
  constexpr SystemCalls() = default;
  constexpr virtual ~SystemCalls() = default;

  virtual ssize_t preadv2(int fd, const iovec* vectors, int count, off_t offset, int flags) const {
    return ::preadv2(fd, vectors, count, offset, flags);
  }
  virtual ssize_t pwritev2(int fd, const iovec* vectors, int count, off_t offset, int flags) const {
    return ::pwritev2(fd, vectors, count, offset, flags);
  }
  virtual int fdatasync(int fd) const { return ::fdatasync(fd); }
  virtual int fallocate(int fd, int mode, off_t offset, off_t length) const {
    return ::fallocate(fd, mode, offset, length);
  }
  virtual int ftruncate(int fd, off_t length) const { return ::ftruncate(fd, length); }
  virtual ssize_t recv(int fd, void* bytes, std::size_t length, int flags) const {
    return ::recv(fd, bytes, length, flags);
  }
  virtual ssize_t sendmsg(int fd, const msghdr* message, int flags) const { return ::sendmsg(fd, message, flags); }
  virtual ssize_t sendfile(int to, int from, off_t* offset, std::size_t count) const {
    return ::sendfile(to, from, offset, count);
  }
};

inline constexpr SystemCalls kSystemCalls;

}  // namespace blockexport::aio::posix
