// ReplyQueue: the replies of one connection that are ready to be sent, in the order in which they became ready.
//
// Small replies are written one behind the other into shared buffers, so that one send takes all that wait; a large one
// brings the buffer it was read into, or says where in the node, and where in a file, its data are. Memory is taken
// from the connection's budget and pool, and given back as it is sent. Owned by the session; thread: its reactor's.
// Never waits, not for a disk either: cold_piece() names data that have left the page cache since their reply was
// queued.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "aio/buffer_pool.h"
#include "aio/memory_budget.h"
#include "block/file_span.h"
#include "export/nbd/transmission/read_plan.h"
#include "export/nbd/transmission/suspended_session.h"
#include "net/stream.h"

namespace blockexport::nbd {

class ReplyQueue {
 public:
  // Bytes of a shared buffer; also the longest reply that goes into one.
  static constexpr std::size_t kSharedBufferBytes = 256u << 10;
  // Bytes after which send() leaves the rest for the next turn.
  static constexpr std::uint64_t kSentPerTurnMax = 4u << 20;

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

  // Queues `head` (at most kReadHeadBytesMax) and behind it `data` of the node, which stand at `span` in a file, all in
  // the page cache now. It takes nothing from the budget; the caller bounds file_replies().
  void push_file(std::span<const std::byte> head, block::FileSpan span, block::Range data, std::uint64_t now_ns);

  // Queues `head` and behind it `data` of the node, which are read piece by piece once they are next: see cold_piece().
  // The same holds for it as for push_file().
  void push_unread(std::span<const std::byte> head, block::Range data);

  // Replies with data that are not in memory of ours and were not sent to their end.
  std::size_t file_replies() const { return file_replies_; }

  // Sends as much as the stream takes now and one turn allows. Success: the queue is empty. EAGAIN: the stream takes no
  // more, or cold_piece() is to be read first, or turn_is_over(). ENODATA: a file ends before what was announced of it,
  // and nothing can be sent any more.
  IoResult send(net::Stream& stream, aio::Reactor& reactor);

  // Whether the last send() stopped because other connections are to have their turn.
  bool turn_is_over() const { return turn_is_over_; }

  // Bytes of the node that come next and have to be read.
  struct ColdPiece {
    block::Range range;       // at most kSharedBufferBytes
    bool was_shared = false;  // by Node::try_share(), which counted them: see Node::read_shared()
  };
  const std::optional<ColdPiece>& cold_piece() const { return cold_piece_; }
  // That piece, read into `buffer`. It counts against the budget, over its limit if need be.
  void put_cold_piece(aio::Buffer buffer);

  // Forgets every reply, and every reply still to come.
  void discard();

  // What is left to send, oldest first; the queue is discarded. Nobody reads a cold piece meanwhile.
  std::vector<UnsentReply> take_unsent();
  // Queues what another queue had left. Bytes count against the budget, over its limit if need be; data of the node are
  // read as those of push_unread().
  void restore(std::span<const UnsentReply> unsent);

  bool empty() const { return first_ == chunks_.size(); }
  std::uint64_t sent_bytes() const { return sent_bytes_; }
  // Replies, or parts of them, that there is room for without allocating.
  std::size_t capacity() const { return chunks_.capacity(); }

 private:
  // begin..end: what is left to send; of the buffer, or of the head and the bytes of a file or the node as if they
  // stood in a row.
  struct Chunk {
    aio::Buffer buffer = {};
    block::FileSpan span = {};  // of the bytes of the node, if they leave from a file
    std::uint64_t node_offset = 0;
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t budget_bytes = 0;
    // Up to where the file's bytes were seen in the page cache, and when.
    std::size_t seen_end = 0;
    std::uint64_t seen_ns = 0;
    std::array<std::byte, kReadHeadBytesMax> head = {};
    std::uint8_t head_bytes = 0;
    bool shared = false;
    bool is_of_node = false;  // its data are not in `buffer`

    bool has_file() const { return span.file != nullptr; }
    // Where the next of the node's bytes stand; the head is sent, or goes with them.
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
  std::vector<Chunk> chunks_;  // those before first_ were sent
  std::size_t first_ = 0;
  std::uint64_t sent_bytes_ = 0;
  std::size_t file_replies_ = 0;
  std::optional<ColdPiece> cold_piece_;
  bool turn_is_over_ = false;
  bool discarding_ = false;
};

}  // namespace blockexport::nbd
