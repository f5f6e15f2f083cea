// The vocabulary of the data path: buffers, flags, limits and extents. Seven verbs use it, from the NBD session to the
// file: read, write, write_zeroes, discard, flush, extents, prefetch.
// Plain values; any thread.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/errno.h"
#include "block/range.h"

namespace blockexport::block {

// Memory that a verb reads into or writes from; borrowed until the verb has ended. The vectors' lengths add up to
// exactly the length of the range they go with.
using IoBuffers = std::span<const iovec>;

struct WriteOptions {
  bool force_unit_access = false;  // durable before it succeeds
};

struct ZeroOptions {
  bool force_unit_access = false;
  bool may_unmap = false;    // a hole is as good as zeros
  bool no_fallback = false;  // ENOTSUP, and nothing changed, rather than writing zeros one by one
};

// What a verb answers once something has changed: ENOTSUP, which says that nothing has, becomes EIO.
inline IoResult after_a_change(IoResult result) {
  if (!result && result.error() == Errno(ENOTSUP)) return fail(EIO);
  return result;
}

struct Limits {
  std::uint32_t request_alignment = 1;            // bytes, a power of two, at most 65536
  std::uint32_t memory_alignment = 1;             // of the address and length of each buffer, a power of two
  std::uint64_t transfer_bytes_max = UINT32_MAX;  // of one read or write
  std::uint32_t optimal_bytes = 4096;             // preferred request size, a power of two
};

// A run of bytes of one kind.
struct Extent {
  std::uint64_t length = 0;
  bool data = false;        // false: nothing is allocated for it
  bool zero = false;        // known to read as zeros
  std::uint32_t depth = 1;  // the layer that holds it: 1 = this node, 2 = its backing node, ..., 0 = none

  friend bool operator==(const Extent&, const Extent&) = default;
};

// The answer of the verb `extents`: consecutive runs from the start of the range asked for, neighbours differ. It may
// stop short of the end of the range, never before the first; it gives no more than kExtentsPerCallMax runs.
using Extents = std::vector<Extent>;
inline constexpr std::size_t kExtentsPerCallMax = 4096;

}  // namespace blockexport::block
