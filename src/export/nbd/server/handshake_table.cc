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
  const Place& oldest = share.places.front();
  return {.is_spared = oldest.is_spared_, .count = share.count, .oldest = oldest.number_, .share = &share};
}

void HandshakeTable::rank_anew(Share& share) {
  auto node = ranks_.extract(share.rank);
  node.value() = rank_of(share);
  share.rank = ranks_.insert(std::move(node)).position;
}

void HandshakeTable::add(Place& place) {
  assert(place.share_ == nullptr);
  place.number_ = ++last_number_;
  place.is_spared_ = true;
  spared_.push_back(place);
  ++size_;
  Share& share = shares_[place.peer_];
  place.share_ = &share;
  share.places.push_back(place);
  if (share.count++ == 0) {
    share.rank = ranks_.insert(rank_of(share)).first;
  } else {
    rank_anew(share);
  }
}

void HandshakeTable::remove(Place& place) {
  if (place.share_ == nullptr) return;
  Share& share = *std::exchange(place.share_, nullptr);
  place.ListLink<ByAge>::unlink();
  place.ListLink<OfPeer>::unlink();
  --size_;
  if (--share.count > 0) return rank_anew(share);
  ranks_.erase(share.rank);
  shares_.erase(place.peer_);
}

HandshakeTable::Place* HandshakeTable::oldest() {
  if (!old_.empty()) return &old_.front();
  return spared_.empty() ? nullptr : &spared_.front();
}

// Each place is moved once in its life.
void HandshakeTable::spare_no_longer(std::uint64_t now_ns) {
  while (!spared_.empty() && now_ns - spared_.front().since_ns_ >= kHandshakeSpareNs) {
    Place& place = spared_.pop_front();
    old_.push_back(place);
    place.is_spared_ = false;
    if (&place.share_->places.front() == &place) rank_anew(*place.share_);
  }
}

HandshakeTable::Place* HandshakeTable::to_drop(std::uint64_t now_ns) {
  spare_no_longer(now_ns);
  if (ranks_.empty()) return nullptr;
  auto loses = ranks_.begin();
  if (!loses->is_spared) {
    constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
    auto flood = ranks_.lower_bound(Rank{.is_spared = true, .count = kMost, .oldest = 0, .share = nullptr});
    if (flood != ranks_.end() && flood->count > places_ / 4 && flood->count > loses->count) loses = flood;
  }
  return &loses->share->places.front();
}

}  // namespace blockexport::nbd
