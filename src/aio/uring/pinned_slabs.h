// PinnedSlabs: slabs of a reactor's pool that its ring has pinned, so that a direct transfer need not look up and pin
// its pages each time.
//
// What is pinned cannot be swapped out or given back, so a slab is pinned only when it has served a number of direct
// transfers, and until its pool is trimmed. A kernel that refuses (it may be too old, or the limit on locked memory too
// small: ulimit -l) only makes transfers slower. Owned by the io_uring backend. Thread: the ring's.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <optional>

#include "aio/slabs.h"
#include "aio/uring/ring.h"

namespace blockexport::aio {

class PinnedSlabs {
 public:
  static constexpr std::uint32_t kTransfersBeforePin = 64;

  explicit PinnedSlabs(Ring& ring) : ring_(ring) {}

  // `slabs` outlive this, or are taken off with null.
  void use(const Slabs* slabs);
  // The number by which the ring knows the memory of a direct transfer, when it does.
  std::optional<unsigned> number_of(const iovec& memory);
  void unpin();

 private:
  bool pin(unsigned number);

  Ring& ring_;
  const Slabs* slabs_ = nullptr;
  std::uint64_t trims_seen_ = 0;
  std::uint64_t pinned_ = 0;  // a bit for each slab
  bool refused_ = false;      // until the next trim
  std::array<std::uint32_t, Slabs::kSlabsMax> transfers_ = {};
};

}  // namespace blockexport::aio
