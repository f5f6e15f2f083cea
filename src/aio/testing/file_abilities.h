// Probes of the file system of a test's files, for tests of features that only some file systems have. Any thread.
#pragma once

#include <fcntl.h>
#include <sys/uio.h>

#include <string>

#include "aio/posix/transfer_flags.h"
#include "base/owned_fd.h"

namespace blockexport::aio::testing {

// True if preadv2() with these flags can read the first byte of this file, which is not empty.
inline bool reads_with(const std::string& path, int flags) {
  const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char byte = 0;
  const iovec vector{.iov_base = &byte, .iov_len = 1};
  return preadv2(fd.get(), &vector, 1, 0, flags) == 1;
}

// True if a read can be limited to the page cache; overlay and tmpfs do not support that.
inline bool reads_without_waiting(const std::string& path) {
  return reads_with(path, 0) && reads_with(path, RWF_NOWAIT);
}

// True if a read can drop the pages that it brought into the page cache (RWF_DONTCACHE, Linux 6.14).
inline bool knows_dropping(const std::string& path) {
  return reads_with(path, posix::caching_flag(Caching::kDrop));
}

}  // namespace blockexport::aio::testing
