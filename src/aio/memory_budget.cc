#include "aio/memory_budget.h"

namespace blockexport::aio {

MemoryBudget::MemoryBudget(Reactor& reactor, std::uint64_t limit_bytes) : limit_(limit_bytes), room_(reactor) {}

MemoryBudget::MemoryBudget(MemoryBudget& parent, std::uint64_t limit_bytes)
    : parent_(&parent), limit_(limit_bytes), room_(parent.room_.reactor()) {}

MemoryBudget::~MemoryBudget() {
  assert(used_ == 0);
}

bool MemoryBudget::fits(std::uint64_t bytes) const {
  if (used_ + bytes > limit_) return false;
  if (parent_ == nullptr) return true;
  std::uint64_t more_shared = shared_part(used_ + bytes) - shared_part(used_);
  return more_shared == 0 || parent_->fits(more_shared);
}

void MemoryBudget::charge(std::uint64_t bytes) {
  if (parent_ != nullptr) parent_->charge(shared_part(used_ + bytes) - shared_part(used_));
  used_ += bytes;
}

bool MemoryBudget::try_take(std::uint64_t bytes) {
  if (!fits(bytes)) return false;
  charge(bytes);
  return true;
}

void MemoryBudget::take_over_limit(std::uint64_t bytes) {
  charge(bytes);
}

Task<IoResult> MemoryBudget::take(std::uint64_t bytes) {
  if (bytes > limit_) co_return fail(ENOMEM);
  while (!try_take(bytes)) {
    // Own memory first: what is missing of the process's share is waited for there.
    bool at_parent = used_ + bytes <= limit_ && parent_ != nullptr;
    MemoryBudget& short_of = at_parent ? *parent_ : *this;
    short_of.room_.reset();
    ++short_of.waiting_;
    waiting_at_parent_ += at_parent;
    IoResult waited = co_await short_of.room_.wait();
    waiting_at_parent_ -= at_parent;
    --short_of.waiting_;
    if (!waited) co_return waited;
  }
  co_return IoResult{};
}

void MemoryBudget::give_back(std::uint64_t bytes) {
  if (bytes == 0) return;
  assert(bytes <= used_);
  if (parent_ != nullptr) parent_->give_back(shared_part(used_) - shared_part(used_ - bytes));
  used_ -= bytes;
  room_.set();
  // Room in the allowance serves them too, and of that the parent hears nothing.
  if (waiting_at_parent_ > 0) parent_->room_.set();
}

}  // namespace blockexport::aio
