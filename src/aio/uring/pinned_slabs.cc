#include "aio/uring/pinned_slabs.h"

namespace blockexport::aio {
namespace {

std::uint64_t bit_of(unsigned number) {
  return std::uint64_t{1} << number;
}

}  // namespace

void PinnedSlabs::use(const Slabs* slabs) {
  unpin();
  slabs_ = slabs;
}

std::optional<unsigned> PinnedSlabs::number_of(const iovec& memory) {
  if (slabs_ == nullptr) return std::nullopt;
  // The ring's registration still refers to the pages from before the trim.
  if (trims_seen_ != slabs_->trims()) unpin();
  std::optional<unsigned> number = slabs_->slab_of(memory.iov_base, memory.iov_len);
  if (!number || (pinned_ & bit_of(*number)) != 0) return number;
  return pin(*number) ? number : std::nullopt;
}

bool PinnedSlabs::pin(unsigned number) {
  if (refused_ || ++transfers_[number] < kTransfersBeforePin) return false;
  refused_ = !ring_.pin(number, slabs_->slab(number));
  if (!refused_) pinned_ |= bit_of(number);
  return !refused_;
}

void PinnedSlabs::unpin() {
  for (unsigned number = 0; number < Slabs::kSlabsMax; ++number) {
    if ((pinned_ & bit_of(number)) != 0) ring_.unpin(number);
  }
  pinned_ = 0;
  refused_ = false;
  transfers_ = {};
  if (slabs_ != nullptr) trims_seen_ = slabs_->trims();
}

}  // namespace blockexport::aio
