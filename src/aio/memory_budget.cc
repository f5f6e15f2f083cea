#include "aio/memory_budget.h"

#include "base/error.h"

namespace blockexport::aio {

MemoryBudget::MemoryBudget(Reactor& reactor, std::uint64_t limit_bytes)
    : limit_(limit_bytes), turn_(reactor), room_(reactor) {}

MemoryBudget::MemoryBudget(MemoryBudget& parent, std::uint64_t limit_bytes)
    : parent_(&parent), limit_(limit_bytes), turn_(parent.room_.reactor()), room_(parent.room_.reactor()) {}

MemoryBudget::~MemoryBudget() {
  assert(used_ == 0);
}

std::uint64_t MemoryBudget::more_shared(std::uint64_t bytes) const {
  return parent_ == nullptr ? 0 : shared_part(used_ + bytes) - shared_part(used_);
}

bool MemoryBudget::parent_has_room(std::uint64_t bytes) const {
  std::uint64_t shared = more_shared(bytes);
  return shared == 0 || parent_->has_room(shared);
}

void MemoryBudget::charge(std::uint64_t bytes) {
  if (parent_ != nullptr) parent_->charge(more_shared(bytes));
  used_ += bytes;
}

bool MemoryBudget::try_take(std::uint64_t bytes) {
  if (turn_.is_locked() || !has_room(bytes) || !parent_has_room(bytes)) return false;
  // Those who wait for the process's share come first.
  if (more_shared(bytes) > 0 && parent_->turn_.is_locked()) return false;
  charge(bytes);
  return true;
}

void MemoryBudget::take_over_limit(std::uint64_t bytes) {
  charge(bytes);
}

bool MemoryBudget::can_ever_give(std::uint64_t bytes) const {
  return bytes <= limit_ && (parent_ == nullptr || shared_part(bytes) <= parent_->limit_);
}

Task<IoResult> MemoryBudget::take(std::uint64_t bytes) {
  if (try_take(bytes)) co_return IoResult{};
  if (!can_ever_give(bytes)) co_return fail(ENOMEM);
  // Only the first in the queue looks for room, so that a large taker is not overtaken for ever by small ones.
  auto turn = co_await turn_.lock();
  if (!turn) co_return fail(turn.error());
  for (;;) {
    while (!has_room(bytes)) CO_TRY(co_await more_room());
    if (more_shared(bytes) == 0) break;
    auto parents_turn = co_await parent_->turn_.lock();
    if (!parents_turn) co_return fail(parents_turn.error());
    while (has_room(bytes) && !parent_has_room(bytes)) CO_TRY(co_await parent_->more_room());
    if (has_room(bytes)) {
      charge(bytes);
      co_return IoResult{};
    }
    // take_over_limit() used our own room up meanwhile; others need not wait for us at the parent.
  }
  charge(bytes);
  co_return IoResult{};
}

Event::Wait MemoryBudget::more_room() {
  room_.reset();
  return room_.wait();
}

void MemoryBudget::give_back(std::uint64_t bytes) {
  if (bytes == 0) return;
  assert(bytes <= used_);
  std::uint64_t shared = parent_ == nullptr ? 0 : shared_part(used_) - shared_part(used_ - bytes);
  used_ -= bytes;
  room_.set();
  if (parent_ == nullptr) return;
  parent_->give_back(shared);
  // Who waits at the parent for our sake may need less of it now.
  parent_->room_.set();
}

}  // namespace blockexport::aio
