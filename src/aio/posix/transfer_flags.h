// The flags of preadv2() and pwritev2() for an Operation, which io_uring uses too. Plain functions; any thread. They do
// not check whether the kernel supports a flag: it answers EOPNOTSUPP if not.
#pragma once

#include <sys/uio.h>

#include "aio/operation/operation.h"

namespace blockexport::aio::posix {

inline int caching_flag(Caching caching) {
  // RWF_DONTCACHE, of Linux 6.14; newer than the headers that we build with.
  constexpr int kDontCache = 0x80;
  return caching == Caching::kDrop ? kDontCache : 0;
}

inline int transfer_flags(const Operation& operation) {
  return (operation.data_sync ? RWF_DSYNC : 0) | caching_flag(operation.caching);
}

}  // namespace blockexport::aio::posix
