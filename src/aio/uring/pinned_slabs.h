// PinnedSlabs: slabs of a reactor's pool that are registered with its ring as fixed buffers, so that the kernel need
// not look up and pin pages for each direct transfer.
//
// Pinned memory cannot be swapped out or freed, so a slab is pinned only after kTransfersBeforePin direct transfers,
// and only until its pool is trimmed. If the kernel refuses (it may be too old, or the limit on locked memory too
// small: ulimit -l), transfers are merely slower. Owned by the io_uring backend. Thread: the ring's.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <optional>

#include "aio/memory/slabs.h"
#include "aio/uring/ring.h"

namespace blockexport::aio {

class PinnedSlabs {
 public:
  static constexpr std::uint32_t kTransfersBeforePin = 64;

  explicit PinnedSlabs(Ring& ring) : ring_(ring) {}

  // Sets the slabs, or null for none. They outlive this object, or are reset to null before.
  void use(const Slabs* slabs);
  // The registered buffer's number for the memory of a direct transfer; nothing when it is not pinned.
  std::optional<unsigned> number_of(const iovec& memory);
  void unpin();

 private:
  bool pin(unsigned number);

  Ring& ring_;
  const Slabs* slabs_ = nullptr;
  std::uint64_t trims_seen_ = 0;
  std::uint64_t pinned_ = 0;  // a bit per slab
  bool refused_ = false;      // the kernel refused to pin; reset by the next trim
  std::array<std::uint32_t, Slabs::kSlabsMax> transfers_ = {};
};

}  // namespace blockexport::aio
