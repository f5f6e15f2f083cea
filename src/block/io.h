// Types of the data path: buffers, flags, limits and extents. The same seven verbs are used from the NBD session to the
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

// Memory for a read or write; borrowed until the verb has ended. The sum of the vectors' lengths is exactly the length
// of the range.
using IoBuffers = std::span<const iovec>;

struct WriteOptions {
  bool force_unit_access = false;  // durable before it completes
  // The caller has the permission to resize: a write past the end makes the node larger.
  bool may_grow = false;
  bool compressed = false;  // the driver may store the data in compressed form; others store it as it is
};

struct ZeroOptions {
  bool force_unit_access = false;
  bool may_unmap = false;    // the range may become a hole
  bool no_fallback = false;  // return ENOTSUP, without a change, rather than writing zeros as data
  bool may_grow = false;     // as in WriteOptions
};

// Result of a verb after something has changed: ENOTSUP, which means that nothing has, becomes EIO.
inline IoResult after_a_change(IoResult result) {
  if (!result && result.error() == Errno(ENOTSUP)) return fail(EIO);
  return result;
}

// Limits for one call of a driver. Alignments are powers of two. Values larger than request_alignment are multiples of
// it, except the defaults.
struct Limits {
  std::uint32_t request_alignment = 1;            // of every verb except extents and prefetch; at most 65536
  std::uint32_t memory_alignment = 1;             // of the address and length of each buffer
  std::uint64_t transfer_bytes_max = UINT32_MAX;  // of one read or write
  std::uint32_t optimal_bytes = 4096;             // preferred request size
  // Alignment of write_zeroes. Each unaligned end is a call of its own, which the driver may answer with ENOTSUP: then
  // the node writes the end as data. 1: any.
  std::uint32_t zeroes_alignment = 1;
  std::uint64_t zeroes_bytes_max = UINT64_MAX;
  // Alignment of discards. Unaligned ends are left out. 1: any.
  std::uint32_t discard_alignment = 1;
  std::uint64_t discard_bytes_max = UINT64_MAX;
};

// Consecutive bytes of one kind.
struct Extent {
  std::uint64_t length = 0;
  bool data = false;        // false: no storage is allocated for it
  bool zero = false;        // known to read as zeros
  std::uint32_t depth = 1;  // the layer that contains it: 1 = this node, 2 = its backing node, ..., 0 = none

  friend bool operator==(const Extent&, const Extent&) = default;
};

// The result of the verb `extents`: consecutive runs from the start of the requested range; neighbours differ. It may
// end before the range does, but has at least one run, and at most kExtentsPerCallMax.
using Extents = std::vector<Extent>;
inline constexpr std::size_t kExtentsPerCallMax = 4096;

}  // namespace blockexport::block
