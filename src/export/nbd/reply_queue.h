// ReplyQueue: the replies of one connection that are ready to be sent, in the order in which they became ready.
//
// Small replies are written one behind the other into shared buffers, so that one send takes all that wait; a large one
// brings the buffer it was read into. Memory is taken from the connection's budget and pool, and given back as it is
// sent. Owned by the session; thread: its reactor's. Never waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "aio/buffer_pool.h"
#include "aio/memory_budget.h"
#include "net/stream.h"

namespace blockexport::nbd {

class ReplyQueue {
 public:
  // Bytes of a shared buffer; also the longest reply that goes into one.
  static constexpr std::size_t kSharedBufferBytes = 256u << 10;

  ReplyQueue(aio::BufferPool& pool, aio::MemoryBudget& budget) : pool_(pool), budget_(budget) {}
  ~ReplyQueue() { discard(); }
  ReplyQueue(const ReplyQueue&) = delete;
  ReplyQueue& operator=(const ReplyQueue&) = delete;

  // Room for a reply of exactly `bytes` (at most kSharedBufferBytes) behind all others, or an empty span when the
  // budget has none. What was reserved counts once it is committed; another reserve() forgets it.
  std::span<std::byte> reserve(std::size_t bytes);

  // Adds a shared buffer whose kSharedBufferBytes the caller took from the budget: the next reserve() succeeds.
  void grant_shared_buffer() { add_shared_chunk(); }

  // The same, when a reply must go out: takes a little more than the budget if need be. For replies without data of
  // requests that were started, whose number is limited.
  std::span<std::byte> reserve_over_budget(std::size_t bytes);

  void commit(std::size_t bytes);

  // Queues `buffer[begin, end)` as one reply. `budget_bytes` of the budget were taken for it and go with it.
  void push(aio::Buffer buffer, std::size_t begin, std::size_t end, std::size_t budget_bytes);

  // Sends as much as the stream takes now. EAGAIN: it takes no more and replies wait. Success: the queue is empty.
  IoResult send(net::Stream& stream);

  // Forgets every reply, and every reply still to come.
  void discard();

  bool empty() const { return first_ == chunks_.size(); }
  std::uint64_t sent_bytes() const { return sent_bytes_; }

 private:
  struct Chunk {
    aio::Buffer buffer;
    std::size_t begin;
    std::size_t end;
    std::size_t budget_bytes;
    bool shared;
  };

  void add_shared_chunk();
  void drop_front();
  void sent(std::size_t bytes);

  aio::BufferPool& pool_;
  aio::MemoryBudget& budget_;
  std::vector<Chunk> chunks_;  // those before first_ were sent
  std::size_t first_ = 0;
  std::uint64_t sent_bytes_ = 0;
  bool discarding_ = false;
};

}  // namespace blockexport::nbd
