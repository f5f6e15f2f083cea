// FrozenClusters: which clusters of a point in time must still be copied, and which may be read.
//
// Owned by a FrozenState. Any thread; questions take no lock. A cluster begins as one to be copied, unless it does not
// belong to the point in time; it is settled once it was copied, or dropped, or the point in time is given up. From
// then on nobody waits for it. Bytes past the size, if the disk has become larger, belong to nobody: they need no copy.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <mutex>
#include <optional>

#include "base/errno.h"
#include "block/bitmap/dirty_bits.h"
#include "block/range.h"

namespace blockexport::drivers {

class FrozenClusters {
 public:
  // `only`: the bytes that belong to the point in time, of a disk of that size and any granularity; null: all of them.
  // ENOMEM, EFBIG.
  static std::expected<std::unique_ptr<FrozenClusters>, Errno> create(std::uint64_t size_bytes,
                                                                      std::uint32_t cluster_bytes,
                                                                      const block::DirtyBits* only);

  std::uint64_t size_bytes() const { return to_copy_->size_bytes(); }
  std::uint32_t cluster_bytes() const { return to_copy_->granularity_bytes(); }

  // True if the bytes may change without a copy. False does not say that there is something to copy.
  bool is_settled(block::Range range) const { return is_given_up() || to_copy_->find_dirty(range) == range.end(); }
  // The first run of bytes that must be copied before they change; nothing when there are none.
  std::optional<block::Range> next_to_copy(block::Range range) const { return to_copy_->next_dirty(range); }
  // Number of the first bytes that are all still to be copied, or all not.
  block::DirtyBits::Run run_at(block::Range range) const { return to_copy_->run_at(range); }

  // Number of the first bytes that may be read as of the point in time. It looks no further than the range.
  std::uint64_t readable_bytes(block::Range range) const {
    return is_given_up() ? 0 : readable_->find_clean(range) - range.offset;
  }

  // The clusters that the range touches; the last one may be cut off by the size. Empty for bytes past the size.
  block::Range around(block::Range range) const;
  // The clusters that lie in the range as a whole.
  block::Range inside(block::Range range) const;

  // Whole clusters were copied. Nobody reads their bytes from where they were at this moment.
  void set_copied(block::Range clusters);
  // Whole clusters do not belong to the point in time any more.
  void drop(block::Range clusters);
  // The older state of some cluster is lost. Called before its bytes change. False: it was given up already.
  bool give_up(Errno cause) {
    int kept = 0;
    return given_up_cause_.compare_exchange_strong(kept, cause.value(), std::memory_order_seq_cst);
  }
  bool is_given_up() const { return given_up_cause_.load(std::memory_order_seq_cst) != 0; }
  // Nothing while the older state is kept.
  std::optional<Errno> given_up_because() const {
    const int cause = given_up_cause_.load(std::memory_order_seq_cst);
    return cause != 0 ? std::optional(Errno(cause)) : std::nullopt;
  }

 private:
  using Bits = std::unique_ptr<block::DirtyBits>;
  FrozenClusters(Bits to_copy, Bits readable) : to_copy_(std::move(to_copy)), readable_(std::move(readable)) {}

  Bits to_copy_;
  Bits readable_;
  std::atomic<int> given_up_cause_ = 0;  // 0: it was not given up
  std::mutex clearing_;                  // only one thread may clean bits at a time
};

}  // namespace blockexport::drivers
