#include "export/nbd/transmission/reply_queue.h"

#include <array>
#include <cassert>
#include <cstring>
#include <utility>

#include "aio/reactor/reactor.h"
#include "base/release_memory.h"

namespace blockexport::nbd {
namespace {

// Maximum number of memory pieces in one send.
constexpr std::size_t kVectorsPerSendMax = 64;
// Maximum number of file bytes in one send.
constexpr std::size_t kFileBytesPerSendMax = 4u << 20;
// Time after a check of the page cache during which its result is trusted.
constexpr std::uint64_t kSeenValidNs = 1'000'000;
// Chunks that an empty queue keeps memory for, and number of sent chunks after which the remaining ones are moved.
constexpr std::size_t kSpareChunksMax = 64;

}  // namespace

// The arguments of one send: pieces of memory, and behind them a piece of a file.
struct ReplyQueue::Batch {
  std::array<iovec, kVectorsPerSendMax> vectors;
  std::size_t count = 0;
  const Chunk* file = nullptr;
  std::size_t file_bytes = 0;
};

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
  std::span<std::byte> space = reserve(bytes);
  if (!space.empty()) return space;
  budget_.take_over_limit(kSharedBufferBytes);
  add_shared_chunk();
  return {chunks_.back().buffer.data(), bytes};
}

void ReplyQueue::add_shared_chunk() {
  chunks_.push_back(
      Chunk{.buffer = pool_.take(kSharedBufferBytes), .budget_bytes = kSharedBufferBytes, .shared = true});
}

void ReplyQueue::commit(std::size_t bytes) {
  chunks_.back().end += bytes;
  if (discarding_) discard();
}

void ReplyQueue::push(aio::Buffer buffer, std::size_t begin, std::size_t end, std::size_t budget_bytes) {
  chunks_.push_back(Chunk{.buffer = std::move(buffer), .begin = begin, .end = end, .budget_bytes = budget_bytes});
  if (discarding_) discard();
}

void ReplyQueue::push_file(std::span<const std::byte> head, block::FileSpan span, block::Range data,
                           std::uint64_t now_ns) {
  assert(span.file != nullptr);
  Chunk& chunk = add_chunk_of_node(head, data);
  chunk.span = std::move(span);
  chunk.seen_end = chunk.end;
  chunk.seen_ns = now_ns;
  if (discarding_) discard();
}

void ReplyQueue::push_unread(std::span<const std::byte> head, block::Range data) {
  add_chunk_of_node(head, data);
  if (discarding_) discard();
}

ReplyQueue::Chunk& ReplyQueue::add_chunk_of_node(std::span<const std::byte> head, block::Range data) {
  assert(head.size() <= kReadHeadBytesMax && !data.empty());
  Chunk& chunk = chunks_.emplace_back();
  chunk.is_of_node = true;
  chunk.node_offset = data.offset;
  chunk.head_bytes = static_cast<std::uint8_t>(head.size());
  std::ranges::copy(head, chunk.head.begin());
  chunk.end = head.size() + data.length;
  ++file_replies_;
  return chunk;
}

// True if the next `bytes` of the file can be sent without waiting for the disk. Pages may be evicted between a check
// and the send, so a result is trusted only for a short time.
bool ReplyQueue::is_warm(Chunk& chunk, std::size_t bytes, aio::Reactor& reactor) {
  if (!chunk.has_file()) return false;
  const std::uint64_t now_ns = reactor.now_ns();
  const std::size_t end = chunk.next_node_byte() + bytes;
  if (end <= chunk.seen_end && now_ns - chunk.seen_ns <= kSeenValidNs) return true;
  if (!reactor.is_cached(chunk.span.file->fd(), chunk.file_offset(), bytes)) return false;
  chunk.seen_end = end;
  chunk.seen_ns = now_ns;
  return true;
}

ReplyQueue::Batch ReplyQueue::gather(aio::Reactor& reactor) {
  Batch batch;
  for (std::size_t i = first_; i < chunks_.size() && batch.count < batch.vectors.size(); ++i) {
    Chunk& chunk = chunks_[i];
    // A chunk that was reserved but not committed is empty.
    if (chunk.begin == chunk.end) continue;
    if (!chunk.is_of_node) {
      batch.vectors[batch.count++] = {.iov_base = chunk.buffer.data() + chunk.begin,
                                      .iov_len = chunk.end - chunk.begin};
      continue;
    }
    if (chunk.begin < chunk.head_bytes) {
      batch.vectors[batch.count++] = {.iov_base = chunk.head.data() + chunk.begin,
                                      .iov_len = chunk.head_bytes - chunk.begin};
    }
    const std::size_t bytes = std::min(chunk.end - chunk.next_node_byte(), kFileBytesPerSendMax);
    if (is_warm(chunk, bytes, reactor)) {
      batch.file = &chunk;
      batch.file_bytes = bytes;
    } else if (batch.count == 0) {
      cold_piece_ = {
          .range = {.offset = chunk.node_offset + chunk.data_sent(), .length = std::min(bytes, kSharedBufferBytes)},
          .was_shared = chunk.has_file()};
    }
    break;
  }
  return batch;
}

IoResult ReplyQueue::send(net::Stream& stream, aio::Reactor& reactor) {
  turn_is_over_ = false;
  if (cold_piece_) return fail(EAGAIN);
  const std::uint64_t turn_ends_at = sent_bytes_ + kSentPerTurnMax;
  while (!empty()) {
    turn_is_over_ = sent_bytes_ >= turn_ends_at;
    if (turn_is_over_) return fail(EAGAIN);
    Batch batch = gather(reactor);
    if (cold_piece_) return fail(EAGAIN);
    if (batch.count == 0 && batch.file == nullptr) {
      while (!empty()) drop_front();
      return {};
    }
    std::span<const iovec> vectors{batch.vectors.data(), batch.count};
    IoCount taken = batch.file == nullptr ? stream.try_send(vectors)
                                          : stream.try_send_file(vectors, batch.file->span.file->fd(),
                                                                 batch.file->file_offset(), batch.file_bytes);
    if (!taken) return fail(taken.error());
    sent_bytes_ += *taken;
    sent(*taken);
  }
  return {};
}

void ReplyQueue::put_cold_piece(aio::Buffer buffer) {
  // The queue may have been discarded during the read.
  if (!cold_piece_) return;
  const std::size_t bytes = std::exchange(cold_piece_, {})->range.length;
  Chunk& rest = chunks_[first_];
  assert(rest.is_of_node && rest.begin >= rest.head_bytes && bytes <= rest.end - rest.begin);
  rest.begin += bytes;
  budget_.take_over_limit(kSharedBufferBytes);
  Chunk piece{.buffer = std::move(buffer), .end = bytes, .budget_bytes = kSharedBufferBytes};
  chunks_.insert(chunks_.begin() + static_cast<std::ptrdiff_t>(first_), std::move(piece));
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
  Chunk& front = chunks_[first_];
  budget_.give_back(front.budget_bytes);
  file_replies_ -= front.is_of_node;
  front.buffer = {};
  front.span = {};
  ++first_;
  forget_sent();
}

// Sent chunks must not pile up in a queue that is never empty.
void ReplyQueue::forget_sent() {
  if (first_ == chunks_.size()) {
    chunks_.clear();
    first_ = 0;
    if (chunks_.capacity() > kSpareChunksMax) release_memory(chunks_);
  } else if (first_ >= kSpareChunksMax && first_ >= chunks_.size() / 2) {
    chunks_.erase(chunks_.begin(), chunks_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
}

std::vector<UnsentReply> ReplyQueue::take_unsent() {
  std::vector<UnsentReply> unsent;
  for (std::size_t i = first_; i < chunks_.size(); ++i) {
    const Chunk& chunk = chunks_[i];
    if (chunk.begin == chunk.end) continue;
    if (unsent.empty() || !unsent.back().data.empty()) unsent.emplace_back();
    UnsentReply& last = unsent.back();
    if (!chunk.is_of_node) {
      last.bytes.insert(last.bytes.end(), chunk.buffer.data() + chunk.begin, chunk.buffer.data() + chunk.end);
      continue;
    }
    const auto head_begin = static_cast<std::ptrdiff_t>(std::min<std::size_t>(chunk.begin, chunk.head_bytes));
    last.bytes.insert(last.bytes.end(), chunk.head.begin() + head_begin, chunk.head.begin() + chunk.head_bytes);
    last.data = {.offset = chunk.node_offset + chunk.data_sent(), .length = chunk.end - chunk.next_node_byte()};
  }
  discard();
  return unsent;
}

void ReplyQueue::restore(std::span<const UnsentReply> unsent) {
  for (const UnsentReply& reply : unsent) {
    if (const std::size_t count = reply.bytes.size(); count > 0) {
      aio::Buffer buffer = pool_.take(count);
      std::memcpy(buffer.data(), reply.bytes.data(), count);
      budget_.take_over_limit(count);
      push(std::move(buffer), 0, count, count);
    }
    if (!reply.data.empty()) push_unread({}, reply.data);
  }
}

void ReplyQueue::discard() {
  discarding_ = true;
  cold_piece_.reset();
  while (!empty()) drop_front();
}

}  // namespace blockexport::nbd
