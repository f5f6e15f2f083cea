// The flags of preadv2() and pwritev2() for an Operation, which a ring takes too. Plain functions; any thread.
// They ask nobody whether the kernel knows a flag: it answers EOPNOTSUPP where it does not.
#pragma once

#include <sys/uio.h>

#include "aio/operation.h"

namespace blockexport::aio::posix {

inline int caching_flag(Caching caching) {
  // RWF_DONTCACHE, of Linux 6.14; younger than the headers that we build with.
  constexpr int kDontCache = 0x80;
  return caching == Caching::kDrop ? kDontCache : 0;
}

inline int transfer_flags(const Operation& operation) {
  return (operation.data_sync ? RWF_DSYNC : 0) | caching_flag(operation.caching);
}

}  // namespace blockexport::aio::posix
