#include "export/nbd/transmission/transmission.h"

#include <fmt/format.h>

#include <cassert>
#include <cstring>
#include <utility>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "export/engine/stall.h"

namespace blockexport::nbd {

using exports::Ending;
using exports::EndingCause;
using exports::Phase;

Transmission::Transmission(TransmissionContext context, std::unique_ptr<net::Stream> stream, SessionState state,
                           std::span<const std::byte> early)
    : context_(context),
      stream_(std::move(stream)),
      state_(std::move(state)),
      rules_(state_, UnalignedRequests::kServe),
      engine_({.reactor = context.reactor,
               .process_budget = context.process_budget,
               .edge = context.edge,
               .fence = context.fence,
               .writethrough = context.writethrough,
               .refused = context.refused,
               .client = context.client_counters}),
      meter_(context.shared_counters, context.client_counters),
      input_(context.pool, state_.header_mode, early),
      output_(context.pool, engine_.budget(), state_.header_mode, rules_),
      reading_(context.reactor),
      sending_(context.reactor),
      stall_watch_(context.reactor),
      sender_wanted_(context.reactor),
      part_written_(context.reactor) {}

Transmission::~Transmission() = default;

aio::Task<void> Transmission::run() {
  co_await take_requests();
  co_await end();
}

// False when the client cannot be served. A client that cannot write needs no watch, because it leaves no writes
// behind. If this client is gone and later ones may have been served already, its requests are dropped: its writes
// would overwrite acknowledged writes of the later ones.
bool Transmission::begin_hang_up_watch() {
  if ((state_.transmission_flags & transmission_flag::kReadOnly) != 0) return true;
  IoResult watched = stream_->watch_hang_up(*this);
  is_watched_ = watched.has_value();
  if (!watched) {
    if (context_.log != nullptr) {
      context_.log->warning(fmt::format("nbd client {}: dropped, its connection cannot be watched: {}", context_.peer,
                                        errno_text(watched.error())));
    }
    lost();
    return false;
  }
  if (!context_.was_overtaken) return true;
  context_.reactor.report_hang_ups();
  if (peer_is_gone_) lost();
  return !peer_is_gone_;
}

// From here to the end of its last write, no request of another client begins.
void Transmission::peer_hung_up() {
  peer_is_gone_ = true;
  engine_.client_hung_up();
}

aio::Task<void> Transmission::take_requests() {
  enter(Phase::kServing);
  if (!begin_hang_up_watch()) {
    end_requests();
    co_return;
  }
  sending_.spawn("nbd sender", send_loop());
  reading_.spawn("nbd reader", receive_loop());
  co_await reading_.join();
  engine_.give_back_credit();
  const bool finishing = states_.ending() == Ending::kFinishing;
  if (input_.payload().active() && !finishing) drop_payload();
  if (finishing) answer_what_is_left();
  end_requests();
}

// No request begins from now on. The writes of a lost client delay later requests of others (see write_fence.h).
void Transmission::end_requests() {
  enter(Phase::kAnswering);
  engine_.end_requests(states_.ending() != Ending::kFinishing);
}

aio::Task<void> Transmission::end() {
  co_await engine_.join();
  // The sender ends when the queue is empty, the peer is gone, the session is suspended, or the close grace is over.
  aio::Scope grace(context_.reactor);
  grace.spawn("nbd close grace", close_grace());
  enter(Phase::kDraining);
  // The read of a cold piece ends by itself.
  if (is_suspended() && states_.sender_wait() != SenderWait::kStorage) sending_.cancel();
  sender_wanted_.set();
  co_await sending_.join();
  grace.cancel();
  stall_watch_.cancel();
  co_await grace.join();
  co_await stall_watch_.join();
  if (is_watched_) stream_->forget_hang_up();
  enter(Phase::kEnded);
  assert(!engine_.has_raised_fence());
}

void Transmission::close() {
  if (states_.ending() != Ending::kSuspended) stream_->shut_down();
}

void Transmission::drop() {
  cut(Ending::kDropped, EndingCause::kRemoval);
  reading_.cancel();
}

void Transmission::finish() {
  if (states_.ending() == Ending::kOpen) states_.end(Ending::kFinishing, EndingCause::kServer);
  reading_.cancel();
}

bool Transmission::suspend() {
  if (!stream_->can_be_released()) return false;
  suspend_wanted_ = true;
  // In the middle of a request the reader continues, and stops after it.
  if (input_.is_at_boundary()) reading_.cancel();
  return true;
}

// True if suspend() stops the reader here.
bool Transmission::suspend_at_boundary() {
  if (!suspend_wanted_ || !input_.is_at_boundary() || states_.ending() != Ending::kOpen) return false;
  states_.end(Ending::kSuspended, EndingCause::kServer);
  return true;
}

std::optional<Transmission::Suspended> Transmission::take_suspended() {
  if (states_.phase() != Phase::kEnded || states_.ending() != Ending::kSuspended) return std::nullopt;
  SuspendedSession session{.state = state_, .unread = input_.unread(), .unsent = output_.queue().take_unsent()};
  return Suspended{.session = std::move(session), .fd = stream_->release()};
}

void Transmission::lost() {
  cut(Ending::kLost, EndingCause::kConnection);
}

// The reader has ended; a stopping server has set its ending before.
void Transmission::client_left() {
  if (states_.ending() == Ending::kOpen) states_.end(Ending::kClientLeft, EndingCause::kReader);
}

// No more replies are sent to the peer, and no more bytes are received.
void Transmission::cut(Ending reason, EndingCause cause) {
  if (states_.is_cut()) return;
  states_.end(reason, cause);
  output_.queue().discard();
  stream_->shut_down();
  sender_wanted_.set();
}

aio::Task<void> Transmission::close_grace() {
  auto slept = co_await context_.reactor.sleep_until(context_.reactor.now_ns() + context_.close_grace_ns);
  if (slept) lost();
}

aio::Task<void> Transmission::receive_loop() {
  while (states_.ending() == Ending::kOpen && !suspend_at_boundary()) {
    const ReaderWait wait = handle_input();
    replies_ready();
    if (wait == ReaderWait::kNone || suspend_at_boundary()) break;
    states_.begin_wait(wait);
    IoResult waited = co_await wait_for(wait);
    states_.end_reader_wait();
    if (waited) continue;
    if (waited.error() == Errno(ECANCELED)) (void)suspend_at_boundary();
    break;
  }
  client_left();
}

// Fails when the client is gone or the session was ended. It is no coroutine, so that an idle client needs no frame for
// it.
aio::Task<IoResult> Transmission::wait_for(ReaderWait wait) {
  switch (wait) {
    case ReaderWait::kInput:
      return receive();
    case ReaderWait::kPayload:
      return receive_payload();
    case ReaderWait::kTurn:
      return give_turn();
    default:
      return while_connected(wait_for_resource(wait));
  }
}

aio::Task<IoResult> Transmission::give_turn() {
  engine_.begin_turn();
  co_await aio::next_turn();
  co_return IoResult{};
}

aio::Task<IoResult> Transmission::wait_for_resource(ReaderWait wait) {
  const std::uint64_t since_ns = context_.reactor.now_ns();
  IoResult waited = co_await take_resource(wait);
  if (wait == ReaderWait::kFence) {
    meter_.waited_for_fence();
  } else {
    const auto kind = wait == ReaderWait::kSlot ? exports::LimitKind::kRequestsInFlight : exports::LimitKind::kMemory;
    meter_.waited(kind, context_.reactor.now_ns() - since_ns);
  }
  co_return waited;
}

aio::Task<IoResult> Transmission::take_resource(ReaderWait wait) {
  switch (wait) {
    case ReaderWait::kSharedBuffer: {
      IoResult taken = co_await engine_.budget().take(ReplyQueue::kSharedBufferBytes);
      if (taken) output_.queue().grant_shared_buffer();
      co_return taken;
    }
    case ReaderWait::kMemory:
      co_return co_await engine_.wait_for_memory();
    case ReaderWait::kSlot:
      while (!engine_.has_slot(output_.queue().file_replies())) {
        engine_.slot_free().reset();
        CO_TRY(co_await engine_.slot_free().wait());
      }
      co_return IoResult{};
    case ReaderWait::kFence:
      co_return co_await engine_.wait_for_fence();
    default:
      co_return fail(EINVAL);
  }
}

// While the reader does not read, it would not notice that the client is gone, and raise the fence too late.
aio::Task<IoResult> Transmission::while_connected(aio::Task<IoResult> waiting) {
  aio::Scope watch(context_.reactor);
  watch.spawn("nbd loss watch", watch_for_loss());
  IoResult result = co_await std::move(waiting);
  watch.cancel();
  co_await watch.join();
  co_return result;
}

aio::Task<void> Transmission::watch_for_loss() {
  IoResult gone = co_await stream_->hung_up();
  if (!gone) co_return;
  lost();
  reading_.cancel();
}

// Called before a wait for the client.
void Transmission::expect_progress() {
  if (stall_watch_.size() == 0 && engine_.budget().holds_shared())
    stall_watch_.spawn("nbd stall watch", watch_for_stall());
}

// Ends the session when the client makes no progress while it holds memory that others wait for (see stall.h).
aio::Task<void> Transmission::watch_for_stall() {
  aio::Reactor& reactor = context_.reactor;
  exports::StallJudge judge(payload_bytes_ + output_.queue().sent_bytes(), reactor.now_ns());
  while (engine_.budget().holds_shared()) {
    IoResult slept = co_await reactor.sleep_until(reactor.now_ns() + exports::kStallCheckNs);
    if (!slept) co_return;
    const bool is_waited_for = client_not_sending_ || client_not_reading();
    bool blocks_others = is_waited_for && engine_.budget().is_shared_wanted(reactor.now_ns());
    if (!judge.check(blocks_others, payload_bytes_ + output_.queue().sent_bytes(), reactor.now_ns())) continue;
    context_.trace.note(TraceEvent::kNbdClientStalled, {context_.peer});
    lost();
    reading_.cancel();
    co_return;
  }
}

aio::Task<IoResult> Transmission::receive() {
  for (;;) {
    IoCount received = input_.try_receive(*stream_);
    if (received && *received > 0) co_return IoResult{};
    if (received) co_return fail(ECONNRESET);
    if (received.error() != Errno(EAGAIN)) co_return fail(received.error());
    input_.release_if_empty();
    CO_TRY(co_await stream_->readable());
  }
}

// Receives a part of the payload: first the bytes that came with the header, unless they are held in the window, then
// straight into the payload's pieces.
aio::Task<IoResult> Transmission::receive_payload() {
  if (Payload& payload = input_.payload(); payload.needs_piece()) {
    const std::size_t budget_bytes = payload.next_budget_bytes();
    if (!payload.is_split() && engine_.budget().try_take(budget_bytes)) {
      input_.add_piece(budget_bytes);
    } else {
      CO_TRY(co_await while_connected(wait_for_piece(budget_bytes)));
      // A part whose write failed is the last one.
      if (!payload.active()) co_return IoResult{};
    }
  }
  if (input_.take_early_payload()) co_return IoResult{};
  for (;;) {
    IoCount received = input_.try_receive_payload(*stream_);
    if (received && *received > 0) {
      payload_bytes_ += *received;
      co_return IoResult{};
    }
    if (received) co_return fail(ECONNRESET);
    if (received.error() != Errno(EAGAIN)) co_return fail(received.error());
    expect_progress();
    client_not_sending_ = true;
    IoResult ready = co_await stream_->readable();
    client_not_sending_ = false;
    CO_TRY(std::move(ready));
  }
}

// Waits until there is memory for the next bytes of the payload.
aio::Task<IoResult> Transmission::wait_for_piece(std::size_t budget_bytes) {
  Payload& payload = input_.payload();
  if (!payload.is_split()) {
    IoResult taken = co_await engine_.budget().take(budget_bytes, exports::kMemoryPatienceNs);
    if (taken) input_.add_piece(budget_bytes);
    if (taken || taken.error() != Errno(ETIMEDOUT)) co_return taken;
    payload.split();
  }
  if (payload.has_piece()) co_return co_await write_part();
  // An unaligned write may need more than the allowance already for its first piece.
  const std::size_t needed_bytes = payload.next_budget_bytes();
  engine_.budget().take_over_limit(needed_bytes);
  input_.add_piece(needed_bytes);
  co_return IoResult{};
}

void Transmission::drop_payload() {
  engine_.budget().give_back(input_.payload().budget_bytes());
  input_.drop_payload(false);
}

// While the session is finishing, refuses the requests that the client had sent by then and that have not begun.
void Transmission::answer_what_is_left() {
  engine_.refuse();
  engine_.budget().give_back(input_.payload().budget_bytes());
  input_.refuse_payload();
  for (;;) {
    const IoCount received = input_.try_receive(*stream_);
    const ReaderWait wait = handle_input();
    if (wait != ReaderWait::kInput || !received || *received == 0) return;
  }
}

aio::Task<void> Transmission::send_loop() {
  while (!is_suspended()) {
    IoResult result = send_replies();
    if (result && states_.phase() == Phase::kDraining) co_return;
    const SenderWait wait = next_sender_wait(result);
    if (wait != SenderWait::kNone) {
      states_.begin_wait(wait);
      // The most frequent wait gets no frame of its own, since that is the wait of an idle client.
      if (wait == SenderWait::kReplies) {
        sender_wanted_.reset();
        result = co_await sender_wanted_.wait();
      } else {
        result = co_await wait_for(wait);
      }
      states_.end_sender_wait();
    }
    if (result || (is_suspended() && result.error() == Errno(ECANCELED))) continue;
    if (wait == SenderWait::kStorage || result.error() == Errno(ENODATA)) report_broken_reply(result.error());
    // Without a sender no replies release memory, so the reader must not wait for it.
    lost();
    reading_.cancel();
    co_return;
  }
}

// The wait of the sender after it has sent as much as possible; kNone when the connection failed.
exports::SenderWait Transmission::next_sender_wait(const IoResult& sent) const {
  if (sent) return SenderWait::kReplies;
  if (sent.error() != Errno(EAGAIN)) return SenderWait::kNone;
  if (output_.queue().cold_piece()) return SenderWait::kStorage;
  return output_.queue().turn_is_over() ? SenderWait::kTurn : SenderWait::kClient;
}

aio::Task<IoResult> Transmission::wait_for(SenderWait wait) {
  switch (wait) {
    case SenderWait::kStorage:
      return load_cold_piece();
    case SenderWait::kClient:
      expect_progress();
      return stream_->writable();
    default:
      return give_sender_turn();
  }
}

aio::Task<IoResult> Transmission::give_sender_turn() {
  co_await aio::next_turn();
  co_return IoResult{};
}

IoResult Transmission::send_replies() {
  ReplyQueue& queue = output_.queue();
  const std::size_t before = queue.file_replies();
  IoResult sent = queue.send(*stream_, context_.reactor);
  if (queue.file_replies() < before) engine_.slot_free().set();
  // A client with one request at a time goes on when it has its reply.
  if (sent && requests_in_batch_ <= 1 && engine_.requests_in_flight() == 0) context_.reactor.expect_work();
  return sent;
}

// Sends the ready replies; the sender task takes over when the peer is slow.
void Transmission::replies_ready() {
  if (output_.queue().empty() || sender_wanted_.is_set()) return;
  IoResult sent = send_replies();
  if (!sent) sender_wanted_.set();
}

}  // namespace blockexport::nbd
