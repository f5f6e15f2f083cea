#include "export/nbd/server/handshake_table.h"

#include <cassert>
#include <limits>
#include <utility>

namespace blockexport::nbd {

HandshakeTable::~HandshakeTable() {
  assert(size_ == 0);
}

bool HandshakeTable::Rank::operator<(const Rank& other) const {
  if (is_spared != other.is_spared) return other.is_spared;
  if (count != other.count) return count > other.count;
  return oldest < other.oldest;
}

HandshakeTable::Rank HandshakeTable::rank_of(Share& share) {
  const Slot& oldest = share.slots.front();
  return {.is_spared = oldest.is_spared_, .count = share.count, .oldest = oldest.number_, .share = &share};
}

void HandshakeTable::rank_anew(Share& share) {
  auto node = ranks_.extract(share.rank);
  node.value() = rank_of(share);
  share.rank = ranks_.insert(std::move(node)).position;
}

void HandshakeTable::add(Slot& slot) {
  assert(slot.share_ == nullptr);
  slot.number_ = ++last_number_;
  slot.is_spared_ = true;
  spared_.push_back(slot);
  ++size_;
  Share& share = shares_[slot.peer_];
  slot.share_ = &share;
  share.slots.push_back(slot);
  if (share.count++ == 0) {
    share.rank = ranks_.insert(rank_of(share)).first;
  } else {
    rank_anew(share);
  }
}

void HandshakeTable::remove(Slot& slot) {
  if (slot.share_ == nullptr) return;
  Share& share = *std::exchange(slot.share_, nullptr);
  slot.ListLink<ByAge>::unlink();
  slot.ListLink<OfPeer>::unlink();
  --size_;
  if (--share.count > 0) return rank_anew(share);
  ranks_.erase(share.rank);
  shares_.erase(slot.peer_);
}

HandshakeTable::Slot* HandshakeTable::oldest() {
  if (!old_.empty()) return &old_.front();
  return spared_.empty() ? nullptr : &spared_.front();
}

// Each slot moves at most once.
void HandshakeTable::spare_no_longer(std::uint64_t now_ns) {
  while (!spared_.empty() && now_ns - spared_.front().since_ns_ >= kHandshakeSpareNs) {
    Slot& slot = spared_.pop_front();
    old_.push_back(slot);
    slot.is_spared_ = false;
    if (&slot.share_->slots.front() == &slot) rank_anew(*slot.share_);
  }
}

HandshakeTable::Slot* HandshakeTable::to_drop(std::uint64_t now_ns) {
  spare_no_longer(now_ns);
  if (ranks_.empty()) return nullptr;
  auto loses = ranks_.begin();
  if (!loses->is_spared) {
    constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
    auto flood = ranks_.lower_bound(Rank{.is_spared = true, .count = kMost, .oldest = 0, .share = nullptr});
    if (flood != ranks_.end() && flood->count > slots_ / 4 && flood->count > loses->count) loses = flood;
  }
  return &loses->share->slots.front();
}

}  // namespace blockexport::nbd
