// ReplyQueue: replies of one connection that are ready to be sent, in the order in which they became ready.
//
// Small replies are written into shared buffers, so that one send takes all that wait. A large one brings the buffer
// that it was read into, or refers to a range of the node, which may also be a range of a file. The queue takes memory
// from the connection's budget and pool, and releases it as it sends. Owned by the session; thread: that of its
// reactor. Never waits, not even for a disk: cold_piece() names data that were evicted from the page cache after their
// reply was queued.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "aio/budget/memory_budget.h"
#include "aio/memory/buffer_pool.h"
#include "block/file_span.h"
#include "export/nbd/transmission/read_plan.h"
#include "export/nbd/transmission/suspended_session.h"
#include "net/stream.h"

namespace blockexport::nbd {

class ReplyQueue {
 public:
  // Size of a shared buffer, and maximum length of a reply in one.
  static constexpr std::size_t kSharedBufferBytes = 256u << 10;
  // Bytes after which send() stops until the next turn.
  static constexpr std::uint64_t kSentPerTurnMax = 4u << 20;

  ReplyQueue(aio::BufferPool& pool, aio::MemoryBudget& budget) : pool_(pool), budget_(budget) {}
  ~ReplyQueue() { discard(); }
  ReplyQueue(const ReplyQueue&) = delete;
  ReplyQueue& operator=(const ReplyQueue&) = delete;

  // Space for a reply of exactly `bytes` (at most kSharedBufferBytes) at the end of the queue, or an empty span when
  // the budget has none. commit() queues it; another reserve() drops it.
  std::span<std::byte> reserve(std::size_t bytes);

  // Adds a shared buffer whose kSharedBufferBytes the caller took from the budget: the next reserve() succeeds.
  void grant_shared_buffer() { add_shared_chunk(); }

  // As reserve(), but never fails: it may exceed the budget by a little. For replies without data of requests that were
  // started, whose number is limited.
  std::span<std::byte> reserve_over_budget(std::size_t bytes);

  void commit(std::size_t bytes);

  // Queues `buffer[begin, end)` as one reply. `budget_bytes` of the budget were taken for it and are released with it.
  void push(aio::Buffer buffer, std::size_t begin, std::size_t end, std::size_t budget_bytes);

  // Queues `head` (at most kReadHeadBytesMax) and behind it `data` of the node, which are at `span` in a file and in
  // the page cache now. Takes nothing from the budget; the caller limits file_replies().
  void push_file(std::span<const std::byte> head, block::FileSpan span, block::Range data, std::uint64_t now_ns);

  // Queues `head` and behind it `data` of the node, which are read piece by piece when their turn to be sent comes: see
  // cold_piece(). Takes nothing from the budget, as push_file().
  void push_unread(std::span<const std::byte> head, block::Range data);

  // Number of replies whose data are not in our memory and are not completely sent.
  std::size_t file_replies() const { return file_replies_; }

  // Sends as much as the stream accepts now and one turn allows. Success: the queue is empty. EAGAIN: the stream
  // accepts no more, or cold_piece() must be read first, or turn_is_over(). ENODATA: a file ends before the announced
  // length, and the connection cannot continue.
  IoResult send(net::Stream& stream, aio::Reactor& reactor);

  // True if the last send() stopped to give other connections a turn.
  bool turn_is_over() const { return turn_is_over_; }

  // The next bytes of the node that must be read before they can be sent.
  struct ColdPiece {
    block::Range range;       // at most kSharedBufferBytes
    bool was_shared = false;  // Node::try_share() has counted them: see Node::read_shared()
  };
  const std::optional<ColdPiece>& cold_piece() const { return cold_piece_; }
  // The piece was read into `buffer`, which counts against the budget, over its limit if need be.
  void put_cold_piece(aio::Buffer buffer);

  // Drops all replies, and all later ones.
  void discard();

  // The unsent rest of all replies, oldest first; the queue is discarded. No cold piece may be under way.
  std::vector<UnsentReply> take_unsent();
  // Queues the unsent rest of another queue. Its bytes count against the budget, over its limit if need be; data of the
  // node are read as those of push_unread().
  void restore(std::span<const UnsentReply> unsent);

  bool empty() const { return first_ == chunks_.size(); }
  std::uint64_t sent_bytes() const { return sent_bytes_; }
  // Number of replies, or parts of them, that fit without an allocation.
  std::size_t capacity() const { return chunks_.capacity(); }

 private:
  // begin..end: the unsent part of the buffer; or of the head followed by the bytes of a file or the node, counted as
  // if they were contiguous.
  struct Chunk {
    aio::Buffer buffer = {};
    block::FileSpan span = {};  // range of the file with the bytes of the node, if they are sent from one
    std::uint64_t node_offset = 0;
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t budget_bytes = 0;
    // End of the part of the file that was last found in the page cache, and the time of that check.
    std::size_t seen_end = 0;
    std::uint64_t seen_ns = 0;
    std::array<std::byte, kReadHeadBytesMax> head = {};
    std::uint8_t head_bytes = 0;
    bool shared = false;
    bool is_of_node = false;  // its data are in the node, not in `buffer`

    bool has_file() const { return span.file != nullptr; }
    // Offset in the node of its next byte; the head is sent already, or is sent with it.
    std::size_t next_node_byte() const { return std::max<std::size_t>(begin, head_bytes); }
    std::uint64_t data_sent() const { return next_node_byte() - head_bytes; }
    std::uint64_t file_offset() const { return span.offset + data_sent(); }
  };
  struct Batch;

  void add_shared_chunk();
  Chunk& add_chunk_of_node(std::span<const std::byte> head, block::Range data);
  Batch gather(aio::Reactor& reactor);
  static bool is_warm(Chunk& chunk, std::size_t bytes, aio::Reactor& reactor);
  void drop_front();
  void forget_sent();
  void sent(std::size_t bytes);

  aio::BufferPool& pool_;
  aio::MemoryBudget& budget_;
  std::vector<Chunk> chunks_;  // those before first_ are sent
  std::size_t first_ = 0;
  std::uint64_t sent_bytes_ = 0;
  std::size_t file_replies_ = 0;
  std::optional<ColdPiece> cold_piece_;
  bool turn_is_over_ = false;
  bool discarding_ = false;
};

}  // namespace blockexport::nbd
