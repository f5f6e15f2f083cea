// RequestEngine: execution of client requests on the block layer, for any wire format: admission (write fence, free
// slots), memory, the gate of the edge, an inline attempt, else a task, and the end of the request.
//
// A session decodes a request, asks whether it may begin, tries its verb inline, and otherwise starts a task with a
// reply object of its own, to which the engine passes the result. The reply objects are template arguments, so that the
// engine adds no virtual call and no allocation to a request. Owned by the session; thread: that of its reactor.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <concepts>
#include <cstdint>
#include <span>
#include <utility>

#include "aio/budget/memory_budget.h"
#include "aio/sync/scope.h"
#include "aio/sync/sync.h"
#include "aio/task/current.h"
#include "base/intrusive_list.h"
#include "block/edge.h"
#include "block/node.h"
#include "export/engine/block_request.h"
#include "export/engine/operation_counters.h"
#include "export/engine/session_states.h"
#include "export/engine/write_fence.h"

namespace blockexport::exports {

// Maximum number of requests of one client that wait for storage, or for the client to read their data from a file.
inline constexpr std::uint32_t kRequestsInFlightMax = 1024;
// Bytes served inline for one client before other clients get a turn.
inline constexpr std::uint64_t kInlineBytesPerTurnMax = 1u << 20;
// Words of dirty bitmaps that a request reads in one turn of the event loop.
inline constexpr std::uint64_t kBitmapWordsPerTurnMax = 16384;
// Time that a request waits for memory which other clients hold. After it the request is served with less memory, for
// which the allowance of its own client is enough.
inline constexpr std::uint64_t kMemoryPatienceNs = 100'000'000;

// References that an engine needs; all of them outlive it.
struct EngineContext {
  aio::Reactor& reactor;
  aio::ProcessBudget& process_budget;
  block::Edge& edge;                           // the export's edge to its node
  WriteFence& fence;                           // the export's fence
  bool writethrough = false;                   // every write is durable before its reply
  const std::atomic<bool>* refused = nullptr;  // once true, the engine behaves as after refuse(); may be null
  ClientCounters* client = nullptr;            // counts its requests in flight; may be null
};

// The engine's calls to the reply object of a task: answer() with the result, then ended() once the engine has counted
// the end of the request, so that the session may send replies.
template <class Type>
concept ReplyTarget = std::movable<Type> && requires(Type& reply, IoResult result) {
  reply.answer(result);
  reply.ended();
};
// The reply object of a write also owns the data. vectors() is valid until the object moves.
template <class Type>
concept WriteReplyTarget = ReplyTarget<Type> && requires(const Type& reply) {
  { reply.vectors() } -> std::convertible_to<std::span<const iovec>>;
};
// The reply object of a query for extents: rest() is the range to query next, empty when the node has answered
// completely; add() takes the extents of its beginning. Then next_gate() is the gate of the bitmap to read next, null
// when all are read, and read_bitmap() reads a piece of about kBitmapWordsPerTurnMax words at most, and returns their
// number.
template <class Type>
concept ExtentsReplyTarget = ReplyTarget<Type> && requires(Type& reply, const block::Extents& extents) {
  { reply.rest() } -> std::same_as<block::Range>;
  reply.add(extents);
  { reply.next_gate() } -> std::same_as<block::Edge*>;
  { reply.read_bitmap() } -> std::same_as<std::uint64_t>;
};

class RequestEngine {
 public:
  explicit RequestEngine(EngineContext context);
  ~RequestEngine();
  RequestEngine(const RequestEngine&) = delete;
  RequestEngine& operator=(const RequestEngine&) = delete;

  // --- batches: requests that arrived together pass the gate once ---
  // `received_ns`: when they were received, by the reactor's clock.
  void begin_batch(std::uint64_t received_ns = 0) {
    inside_ = context_.edge.try_enter();
    in_batch_ = true;
    received_ns_ = received_ns;
  }
  void end_batch() {
    in_batch_ = false;
    if (std::exchange(inside_, false)) context_.edge.leave();
  }
  bool in_batch() const { return in_batch_; }
  // Time at which the batch was received; in answer() of a reply object, that of its own request.
  std::uint64_t received_ns() const { return received_ns_; }
  // Outside of a batch, before a task is started: when its request was received.
  void set_received_ns(std::uint64_t received_ns) { received_ns_ = received_ns; }
  // True if the gate is open for this batch. Otherwise the node may be changing, and must not be used.
  bool is_inside() const { return inside_; }
  // True if other clients must get a turn before the next request; begin_turn() is called after that turn.
  bool is_turn_over() const { return inline_bytes_ >= kInlineBytesPerTurnMax; }
  void begin_turn() { inline_bytes_ = 0; }
  // Counts bytes that were served without the node as work of this turn.
  void served(std::uint64_t bytes) { inline_bytes_ += bytes; }

  // --- admission ---
  // True if new requests are refused, because the export is being removed.
  bool is_refusing() const {
    return refusing_ || (context_.refused != nullptr && context_.refused->load(std::memory_order_acquire));
  }
  void refuse() { refusing_ = true; }
  // The wait that is needed before one more request may begin; kNone if there is none. Each of the `queued_replies`
  // holds a slot until it is sent.
  ReaderWait admission(std::size_t queued_replies) const {
    if (is_fenced()) return ReaderWait::kFence;
    return has_slot(queued_replies) ? ReaderWait::kNone : ReaderWait::kSlot;
  }
  bool has_slot(std::size_t queued_replies) const {
    return requests_in_flight_ + queued_replies < kRequestsInFlightMax;
  }
  // Set when a slot may have become free.
  aio::Event& slot_free() { return slot_free_; }
  // Waits until no writes of another lost client are under way.
  aio::Task<IoResult> wait_for_fence() { return context_.fence.wait_until_down(); }

  // --- memory ---
  aio::MemoryBudget& budget() { return budget_; }
  // Takes memory for one request; false when the caller has to use wait_for_memory() first.
  bool take_memory(std::size_t bytes);
  // Waits for the memory that take_memory() did not get. If other clients hold it for too long, the wait ends without
  // it, and memory is scarce for the request at the front.
  aio::Task<IoResult> wait_for_memory();
  bool is_memory_scarce() const { return memory_is_scarce_; }
  // Called when the request at the front has left the input: the next one starts a new wait.
  void request_taken() { memory_is_scarce_ = false; }
  // Returns memory that was taken for a request which will not begin.
  void give_back_credit() { budget_.give_back(std::exchange(credit_bytes_, 0)); }
  // Memory that the node needs for `range`, not counting requests that wait for a closed gate.
  std::size_t bounce_bytes(Verb verb, block::Range range) const;

  // --- inline verbs, within a batch; after false or EAGAIN the caller starts a task ---
  bool read_now(block::Range range, iovec data) {
    if (!context_.edge.node().try_read(context_.reactor, range, {&data, 1})) return false;
    inline_bytes_ += range.length;
    return true;
  }
  // True if inline writes are possible at all now.
  bool can_write_now(bool force_unit_access) const { return !force_unit_access && !context_.writethrough && inside_; }
  // Call only if can_write_now(). The write holds the data of `requests` requests of the client.
  bool write_now(block::Range range, std::span<const iovec> data, std::uint32_t requests = 1) {
    if (!context_.edge.node().try_write(context_.reactor, range, data, requests)) return false;
    inline_bytes_ += range.length;
    return true;
  }
  IoResult extents_now(block::Range range, block::Extents& extents) {
    return context_.edge.node().try_extents(context_.reactor, range, extents);
  }
  std::expected<block::FileSpan, Errno> share_now(block::Range range);
  // Counts a read of `bytes` that was answered from known extents.
  void count_hole(std::uint64_t bytes) { context_.edge.node().count_read(context_.reactor, bytes); }
  // True if the node accepts write buffers of any alignment.
  bool writes_from_anywhere() const { return context_.edge.node().limits().request_alignment == 1; }

  // --- tasks: they pass the gate, call the node, and pass the result to the reply. `name` is static text. ---
  template <ReplyTarget Reply>
  void start_read(const char* name, BlockRequest request, iovec data, Reply reply) {
    start(name, request, serve_read(request, data, std::move(reply)));
  }
  template <WriteReplyTarget Reply>
  void start_write(const char* name, BlockRequest request, Reply reply) {
    start(name, request, serve_write(request, std::move(reply)));
  }
  template <ExtentsReplyTarget Reply>
  void start_extents(const char* name, BlockRequest request, Reply reply) {
    start(name, request, serve_extents(request, std::move(reply)));
  }
  // For flush, zeroes, discard and prefetch.
  template <ReplyTarget Reply>
  void start_other(const char* name, BlockRequest request, Reply reply) {
    start(name, request, serve_other(request, std::move(reply)));
  }
  // Reads a part of a reply just before it is sent; `was_shared`: see block::Node::read_shared().
  aio::Task<IoResult> read_part(block::Range range, iovec data, bool was_shared);

  std::uint32_t requests_in_flight() const { return requests_in_flight_; }
  // Waits until every request has ended.
  aio::Task<void> join() { return requests_.join(); }

  // --- the write fence, which keeps late writes of this client from overwriting newer data of others ---
  // Raises the fence: the client is gone, but its received requests may still begin.
  void client_hung_up() {
    if (accepts_requests_) raise_fence();
  }
  // No request begins from now on. `may_be_succeeded`: other clients may write before the running requests have ended.
  void end_requests(bool may_be_succeeded);
  // True if the writes of another lost client must end first.
  bool is_fenced() const { return context_.fence.is_up_beside(fence_raised_ ? 1 : 0); }
  bool has_raised_fence() const { return fence_raised_; }

 private:
  // The request of a task, listed in the order of receipt. Lives in the frame of the task.
  struct Running : ListLink<Running> {
    explicit Running(RequestEngine& engine) : received_ns(engine.received_ns_) { engine.begin_running(*this); }
    const std::uint64_t received_ns;
  };

  void start(const char* name, const BlockRequest& request, aio::Task<void> task);
  void begin_running(Running& running);
  void end_running(Running& running);
  template <ReplyTarget Reply>
  void finish(const BlockRequest& request, Running& running, Reply& reply, const IoResult& result) {
    received_ns_ = running.received_ns;
    reply.answer(result);
    end_running(running);
    request_ended(request);
    reply.ended();
  }
  void request_ended(const BlockRequest& request);
  void raise_fence();
  void lower_fence_when_done();
  aio::Task<IoResult> perform(BlockRequest request);

  template <ReplyTarget Reply>
  aio::Task<void> serve_read(BlockRequest request, iovec data, Reply reply) {
    Running running(*this);
    IoResult result = co_await context_.edge.enter();
    if (result) {
      result = co_await context_.edge.node().read(request.range, {&data, 1});
      context_.edge.leave();
    }
    finish(request, running, reply, result);
  }
  template <WriteReplyTarget Reply>
  aio::Task<void> serve_write(BlockRequest request, Reply reply) {
    Running running(*this);
    IoResult result = co_await context_.edge.enter();
    if (result) {
      const block::WriteOptions options{.force_unit_access = request.force_unit_access || context_.writethrough};
      result = co_await context_.edge.node().write(request.range, reply.vectors(), options);
      context_.edge.leave();
    }
    finish(request, running, reply, result);
  }
  template <ExtentsReplyTarget Reply>
  aio::Task<void> serve_extents(BlockRequest request, Reply reply) {
    Running running(*this);
    IoResult result;
    if (!reply.rest().empty()) {
      result = co_await context_.edge.enter();
      if (result) {
        block::Extents extents;
        for (block::Range rest = reply.rest(); result && !rest.empty(); rest = reply.rest()) {
          extents.clear();
          result = co_await context_.edge.node().extents(rest, extents);
          if (result) reply.add(extents);
        }
        context_.edge.leave();
      }
    }
    // Outside of the node's gate: a change of the graph may close both, and waits at each until nobody is inside.
    std::uint64_t words = 0;
    for (block::Edge* gate = reply.next_gate(); result && gate != nullptr; gate = reply.next_gate()) {
      if (words >= kBitmapWordsPerTurnMax) {
        co_await aio::next_turn();
        words = 0;
      }
      result = co_await gate->enter();
      if (!result) break;
      words += reply.read_bitmap();
      gate->leave();
    }
    finish(request, running, reply, result);
  }
  template <ReplyTarget Reply>
  aio::Task<void> serve_other(BlockRequest request, Reply reply) {
    Running running(*this);
    IoResult result = co_await context_.edge.enter();
    if (result) {
      result = co_await perform(request);
      context_.edge.leave();
    }
    finish(request, running, reply, result);
  }

  EngineContext context_;
  aio::MemoryBudget budget_;
  aio::Scope requests_;
  aio::Event slot_free_;
  IntrusiveList<Running> running_;
  std::uint64_t received_ns_ = 0;
  std::size_t wanted_bytes_ = 0;  // memory that the request at the front waits for
  std::size_t credit_bytes_ = 0;  // memory that the budget has granted to that request
  std::uint64_t inline_bytes_ = 0;
  std::uint32_t requests_in_flight_ = 0;
  std::uint32_t writes_in_flight_ = 0;
  bool inside_ = false;
  bool in_batch_ = false;
  bool refusing_ = false;
  bool memory_is_scarce_ = false;  // the request at the front has waited kMemoryPatienceNs
  bool accepts_requests_ = true;
  bool fence_raised_ = false;  // this client has raised the fence
};

}  // namespace blockexport::exports
