#include "export/nbd/reply_queue.h"

#include <array>
#include <cassert>

namespace blockexport::nbd {
namespace {

// Pieces handed to one send.
constexpr std::size_t kVectorsPerSendMax = 64;

}  // namespace

std::span<std::byte> ReplyQueue::reserve(std::size_t bytes) {
  assert(bytes <= kSharedBufferBytes);
  bool fits = !empty() && chunks_.back().shared && chunks_.back().buffer.size() - chunks_.back().end >= bytes;
  if (!fits) {
    if (!budget_.try_take(kSharedBufferBytes)) return {};
    add_shared_chunk();
  }
  Chunk& chunk = chunks_.back();
  return {chunk.buffer.data() + chunk.end, bytes};
}

std::span<std::byte> ReplyQueue::reserve_over_budget(std::size_t bytes) {
  std::span<std::byte> room = reserve(bytes);
  if (!room.empty()) return room;
  budget_.take_over_limit(kSharedBufferBytes);
  add_shared_chunk();
  return {chunks_.back().buffer.data(), bytes};
}

void ReplyQueue::add_shared_chunk() {
  chunks_.push_back(Chunk{.buffer = pool_.take(kSharedBufferBytes),
                          .begin = 0,
                          .end = 0,
                          .budget_bytes = kSharedBufferBytes,
                          .shared = true});
}

void ReplyQueue::commit(std::size_t bytes) {
  chunks_.back().end += bytes;
  if (discarding_) discard();
}

void ReplyQueue::push(aio::Buffer buffer, std::size_t begin, std::size_t end, std::size_t budget_bytes) {
  chunks_.push_back(
      Chunk{.buffer = std::move(buffer), .begin = begin, .end = end, .budget_bytes = budget_bytes, .shared = false});
  if (discarding_) discard();
}

IoResult ReplyQueue::send(net::Stream& stream) {
  while (!empty()) {
    std::array<iovec, kVectorsPerSendMax> vectors;
    std::size_t count = 0;
    for (std::size_t i = first_; i < chunks_.size(); ++i) {
      const Chunk& chunk = chunks_[i];
      if (count == vectors.size()) break;
      // A chunk that was reserved from and not committed to is empty.
      if (chunk.begin == chunk.end) continue;
      vectors[count++] = {.iov_base = chunk.buffer.data() + chunk.begin, .iov_len = chunk.end - chunk.begin};
    }
    if (count == 0) {
      while (!empty()) drop_front();
      return {};
    }
    IoCount taken = stream.try_send({vectors.data(), count});
    if (!taken) return fail(taken.error());
    sent_bytes_ += *taken;
    sent(*taken);
  }
  return {};
}

void ReplyQueue::sent(std::size_t bytes) {
  while (!empty()) {
    Chunk& front = chunks_[first_];
    std::size_t step = std::min(bytes, front.end - front.begin);
    front.begin += step;
    bytes -= step;
    if (front.begin < front.end) return;
    drop_front();
  }
}

void ReplyQueue::drop_front() {
  budget_.give_back(chunks_[first_].budget_bytes);
  chunks_[first_].buffer = {};
  if (++first_ < chunks_.size()) return;
  chunks_.clear();
  first_ = 0;
}

void ReplyQueue::discard() {
  discarding_ = true;
  while (!empty()) drop_front();
}

}  // namespace blockexport::nbd
