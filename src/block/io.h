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
  bool may_grow = false;           // the caller has the permission to resize: past the end the node becomes larger
};

struct ZeroOptions {
  bool force_unit_access = false;
  bool may_unmap = false;    // a hole is as good as zeros
  bool no_fallback = false;  // ENOTSUP, and nothing changed, rather than writing zeros one by one
  bool may_grow = false;     // as in WriteOptions
};

// What a verb answers once something has changed: ENOTSUP, which says that nothing has, becomes EIO.
inline IoResult after_a_change(IoResult result) {
  if (!result && result.error() == Errno(ENOTSUP)) return fail(EIO);
  return result;
}

// What a driver takes in one call. Alignments are powers of two. What is larger than request_alignment is a multiple of
// it, but for the defaults.
struct Limits {
  std::uint32_t request_alignment = 1;            // of every verb but extents and prefetch; at most 65536
  std::uint32_t memory_alignment = 1;             // of the address and length of each buffer
  std::uint64_t transfer_bytes_max = UINT32_MAX;  // of one read or write
  std::uint32_t optimal_bytes = 4096;             // preferred request size
  // Zeroes that are not aligned to this are one call for each unaligned end, which the driver may answer ENOTSUP: then
  // the node writes them as data. 1: any.
  std::uint32_t zeroes_alignment = 1;
  std::uint64_t zeroes_bytes_max = UINT64_MAX;
  // What is not aligned to this of a discard is left out. 1: any.
  std::uint32_t discard_alignment = 1;
  std::uint64_t discard_bytes_max = UINT64_MAX;
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
