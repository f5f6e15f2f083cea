// RequestEngine: the way of a client's requests through the block layer, whatever their wire format: admission by the
// write fence and by free slots, memory, the gate of the edge, an attempt without waiting, else a task, and the end.
//
// A session decodes a request, asks whether it may begin, tries its verb at once, and else starts a task with a reply
// object of its own, which the engine gives the result. These objects are template arguments, so that no request costs
// a virtual call or an allocation for being served by the engine. Owned by the session; thread: its reactor's.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <concepts>
#include <cstdint>
#include <span>
#include <utility>

#include "aio/memory_budget.h"
#include "aio/scope.h"
#include "aio/sync.h"
#include "block/edge.h"
#include "block/node.h"
#include "export/engine/block_request.h"
#include "export/engine/session_states.h"
#include "export/engine/write_fence.h"

namespace blockexport::exports {

// Requests of one client that may wait for storage, or for the client to take their data from a file, at the same time.
inline constexpr std::uint32_t kRequestsInFlightMax = 1024;
// Bytes served without waiting for one client before others get their turn.
inline constexpr std::uint64_t kInlineBytesPerTurnMax = 1u << 20;
// How long a request waits for memory that other clients hold. Then it is served with less, for which the allowance of
// its own client is enough.
inline constexpr std::uint64_t kMemoryPatienceNs = 100'000'000;

// What an engine borrows from its surroundings; all of it outlives it.
struct EngineContext {
  aio::Reactor& reactor;
  aio::ProcessBudget& process_budget;
  block::Edge& edge;                           // the export's right to its node
  WriteFence& fence;                           // the export's
  bool writethrough = false;                   // every write is durable before it is answered
  const std::atomic<bool>* refused = nullptr;  // once true, it is as after refuse(); null: never
};

// What a session gives a task, and the engine tells: answer() when the result is known, and ended() when the engine has
// counted the end of the request, so that replies may be sent.
template <class Type>
concept ReplyTarget = std::movable<Type> && requires(Type& reply, IoResult result) {
  reply.answer(result);
  reply.ended();
};
// That of a write: the data, which it owns. vectors() is valid while it stays where it is.
template <class Type>
concept WriteReplyTarget = ReplyTarget<Type> && requires(const Type& reply) {
  { reply.vectors() } -> std::convertible_to<std::span<const iovec>>;
};
// That of a query for extents: the range to ask for next, empty when the answer is whole, and the answer's next part.
template <class Type>
concept ExtentsReplyTarget = ReplyTarget<Type> && requires(Type& reply, const block::Extents& extents) {
  { reply.rest() } -> std::same_as<block::Range>;
  reply.add(extents);
};

class RequestEngine {
 public:
  explicit RequestEngine(EngineContext context);
  ~RequestEngine();
  RequestEngine(const RequestEngine&) = delete;
  RequestEngine& operator=(const RequestEngine&) = delete;

  // --- batches: once through the gate for all requests that arrived together, not once for each ---
  void begin_batch() {
    inside_ = context_.edge.try_enter();
    in_batch_ = true;
  }
  void end_batch() {
    in_batch_ = false;
    if (std::exchange(inside_, false)) context_.edge.leave();
  }
  bool in_batch() const { return in_batch_; }
  // Whether the gate is open for this batch. Outside of it the node may be changing, and is not asked anything.
  bool is_inside() const { return inside_; }
  // Whether other clients are to have their turn before the next request; and that they had it.
  bool is_turn_over() const { return inline_bytes_ >= kInlineBytesPerTurnMax; }
  void begin_turn() { inline_bytes_ = 0; }
  // Bytes that were served without the node, for the turn.
  void served(std::uint64_t bytes) { inline_bytes_ += bytes; }

  // --- admission ---
  // Whether further requests are answered with an error, because the export is being removed.
  bool is_refusing() const {
    return refusing_ || (context_.refused != nullptr && context_.refused->load(std::memory_order_acquire));
  }
  void refuse() { refusing_ = true; }
  // What has to be waited for before one more request may begin; kNone: nothing. `queued_replies` hold a slot each
  // until they are sent.
  ReaderWait admission(std::size_t queued_replies) const {
    if (is_fenced()) return ReaderWait::kFence;
    return has_slot(queued_replies) ? ReaderWait::kNone : ReaderWait::kSlot;
  }
  bool has_slot(std::size_t queued_replies) const {
    return requests_in_flight_ + queued_replies < kRequestsInFlightMax;
  }
  // Set when a slot may have become free.
  aio::Event& slot_free() { return slot_free_; }
  // Until no other lost client's writes are under way.
  aio::Task<IoResult> wait_for_fence() { return context_.fence.wait_until_down(); }

  // --- memory ---
  aio::MemoryBudget& budget() { return budget_; }
  // Takes memory for one request; false when it has to be waited for, with wait_for_memory().
  bool take_memory(std::size_t bytes);
  // Waits for what take_memory() did not get. When others hold it for too long the wait ends all the same, and memory
  // is scarce for the request at the front.
  aio::Task<IoResult> wait_for_memory();
  bool is_memory_scarce() const { return memory_is_scarce_; }
  // The request at the front was taken from the input: the next one has all patience again.
  void request_taken() { memory_is_scarce_ = false; }
  // Gives back what was taken for a request that will not begin.
  void give_back_credit() { budget_.give_back(std::exchange(credit_bytes_, 0)); }
  // Memory that the node takes for `range`. What waits for a closed gate is counted without.
  std::size_t bounce_bytes(Verb verb, block::Range range) const;

  // --- the verbs at once, in a batch: false, or EAGAIN, sends the caller to a task ---
  bool read_now(block::Range range, iovec data) {
    if (!context_.edge.node().try_read(context_.reactor, range, {&data, 1})) return false;
    inline_bytes_ += range.length;
    return true;
  }
  // Whether a write may be done at once at all.
  bool can_write_now(bool force_unit_access) const { return !force_unit_access && !context_.writethrough && inside_; }
  // For who can_write_now(). A write stands for `requests` of the client.
  bool write_now(block::Range range, std::span<const iovec> data, std::uint32_t requests = 1) {
    if (!context_.edge.node().try_write(context_.reactor, range, data, requests)) return false;
    inline_bytes_ += range.length;
    return true;
  }
  IoResult extents_now(block::Range range, block::Extents& extents) {
    return context_.edge.node().try_extents(context_.reactor, range, extents);
  }
  std::expected<block::FileSpan, Errno> share_now(block::Range range);
  // A read of `bytes` that was answered from known extents.
  void count_hole(std::uint64_t bytes) { context_.edge.node().statistics().read.count(bytes, {}, 0); }
  // Whether the node takes writes from memory that begins and ends anywhere.
  bool writes_from_anywhere() const { return context_.edge.node().limits().request_alignment == 1; }

  // --- tasks: through the gate, to the node, and to the reply. `name` is static text. ---
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
  // A flush, zeroes, discard or prefetch.
  template <ReplyTarget Reply>
  void start_other(const char* name, BlockRequest request, Reply reply) {
    start(name, request, serve_other(request, std::move(reply)));
  }
  // A part of a reply that is read as it is sent; `was_shared`: see block::Node::read_shared().
  aio::Task<IoResult> read_part(block::Range range, iovec data, bool was_shared);

  std::uint32_t requests_in_flight() const { return requests_in_flight_; }
  // Until every request has ended.
  aio::Task<void> join() { return requests_.join(); }

  // --- the write fence, which keeps late writes of this client from overwriting those of others ---
  // The client is gone while its requests may still be read and begun.
  void client_hung_up() {
    if (accepts_requests_) raise_fence();
  }
  // No request begins from now on. `may_be_succeeded`: others may write before those that have begun have ended.
  void end_requests(bool may_be_succeeded);
  // Whether the writes of another lost client have to end first.
  bool is_fenced() const { return context_.fence.is_up_beside(fence_raised_ ? 1 : 0); }
  bool has_raised_fence() const { return fence_raised_; }

 private:
  void start(const char* name, const BlockRequest& request, aio::Task<void> task);
  void request_ended(const BlockRequest& request);
  void raise_fence();
  void lower_fence_when_done();
  aio::Task<IoResult> perform(BlockRequest request);

  template <ReplyTarget Reply>
  aio::Task<void> serve_read(BlockRequest request, iovec data, Reply reply) {
    IoResult result = co_await context_.edge.enter();
    if (result) {
      result = co_await context_.edge.node().read(request.range, {&data, 1});
      context_.edge.leave();
    }
    reply.answer(result);
    request_ended(request);
    reply.ended();
  }
  template <WriteReplyTarget Reply>
  aio::Task<void> serve_write(BlockRequest request, Reply reply) {
    IoResult result = co_await context_.edge.enter();
    if (result) {
      const block::WriteOptions options{.force_unit_access = request.force_unit_access || context_.writethrough};
      result = co_await context_.edge.node().write(request.range, reply.vectors(), options);
      context_.edge.leave();
    }
    reply.answer(result);
    request_ended(request);
    reply.ended();
  }
  template <ExtentsReplyTarget Reply>
  aio::Task<void> serve_extents(BlockRequest request, Reply reply) {
    IoResult result = co_await context_.edge.enter();
    if (result) {
      block::Extents extents;
      for (block::Range rest = reply.rest(); result && !rest.empty(); rest = reply.rest()) {
        extents.clear();
        result = co_await context_.edge.node().extents(rest, extents);
        if (result) reply.add(extents);
      }
      context_.edge.leave();
    }
    reply.answer(result);
    request_ended(request);
    reply.ended();
  }
  template <ReplyTarget Reply>
  aio::Task<void> serve_other(BlockRequest request, Reply reply) {
    IoResult result = co_await context_.edge.enter();
    if (result) {
      result = co_await perform(request);
      context_.edge.leave();
    }
    reply.answer(result);
    request_ended(request);
    reply.ended();
  }

  EngineContext context_;
  aio::MemoryBudget budget_;
  aio::Scope requests_;
  aio::Event slot_free_;
  std::size_t wanted_bytes_ = 0;  // memory that the request at the front waits for
  std::size_t credit_bytes_ = 0;  // taken from the budget already, for that request
  std::uint64_t inline_bytes_ = 0;
  std::uint32_t requests_in_flight_ = 0;
  std::uint32_t writes_in_flight_ = 0;
  bool inside_ = false;
  bool in_batch_ = false;
  bool refusing_ = false;
  bool memory_is_scarce_ = false;  // the request at the front has waited for long enough
  bool accepts_requests_ = true;
  bool fence_raised_ = false;  // by this client
};

}  // namespace blockexport::exports
