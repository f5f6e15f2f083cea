// Transmission: execution of each request, from its decoded bytes to the engine, until it needs a task.

#include <algorithm>
#include <array>
#include <utility>

#include "aio/reactor/reactor.h"
#include "export/nbd/transmission/request_verb.h"
#include "export/nbd/transmission/transmission.h"
#include "export/nbd/transmission/transmission_replies.h"
#include "export/nbd/wire/block_status_filter.h"
#include "export/nbd/wire/contexts.h"

namespace blockexport::nbd {
namespace {

using exports::BlockRequest;
using exports::ReaderWait;
using exports::Verb;

// Maximum memory of one context of a BLOCK_STATUS reply, besides its extents.
constexpr std::size_t kStatusContextBytes = 256;
// Maximum number of extents of such a reply, of all contexts together, and when other clients hold the memory.
constexpr std::size_t kReplyExtentsMax = 2 * kExtentsMax;
constexpr std::size_t kScarceReplyExtentsMax = 8192;
static_assert(kBitmapsPerExportMax + kFirstBitmapContextId <= kScarceReplyExtentsMax);
// READs of at least this length are checked for holes.
constexpr std::uint64_t kHoleSearchBytesMin = 64u << 10;
// Extents that a connection keeps memory for.
constexpr std::size_t kSpareExtentsMax = 16;

block::Range range_of(const Request& request) {
  return {.offset = request.offset, .length = request.length};
}

bool has_flag(const Request& request, std::uint16_t flag) {
  return (request.flags & flag) != 0;
}

BlockRequest to_block_request(const Request& request, block::Range range) {
  return {.verb = *verb_of(request),
          .range = range,
          .force_unit_access = has_flag(request, command_flag::kFua),
          .may_unmap = !has_flag(request, command_flag::kNoHole),
          .no_fallback = has_flag(request, command_flag::kFastZero)};
}

}  // namespace

// Requests that arrived together pass the gate once.
ReaderWait Transmission::handle_input() {
  const std::uint64_t received_ns = context_.reactor.now_ns();
  engine_.begin_batch(received_ns);
  requests_in_batch_ = 0;
  const ReaderWait wait = handle_requests();
  engine_.end_batch();
  // The caller sends the replies now.
  if (meter_.has_pending()) meter_.batch_ends(received_ns, context_.reactor.now_ns());
  return wait;
}

ReaderWait Transmission::handle_requests() {
  for (;;) {
    if (!input_.skip_what_is_there()) return ReaderWait::kInput;
    if (input_.payload().active()) {
      if (!input_.payload().complete()) return ReaderWait::kPayload;
      if (ReaderWait wait = finish_large_write(); wait != ReaderWait::kInput) return wait;
      continue;
    }
    if (!input_.has_header()) return ReaderWait::kInput;
    if (engine_.is_turn_over()) return ReaderWait::kTurn;
    const std::size_t before = input_.size();
    const Request request = input_.next();
    trace_begin(request);
    const ReaderWait wait = handle_request(request);
    const bool taken = input_.size() != before;
    if (taken) {
      begin_is_traced_ = false;
      engine_.request_taken();
      ++requests_in_batch_;
    }
    // Nothing was consumed: the request is not complete yet.
    if (wait != ReaderWait::kInput || !taken) return wait;
  }
}

// Takes the request out of the window; or leaves it there and returns the wait that is needed first.
ReaderWait Transmission::handle_request(const Request& request) {
  Verdict verdict = rules_.check(request);
  if (!verdict.ok()) return reject(request, verdict);
  if (request.is(Command::kDisconnect)) {
    client_left();
    return ReaderWait::kNone;
  }
  if (engine_.is_refusing()) {
    return reject(request, Verdict{.refusal = Refusal::kShuttingDown,
                                   .error = NbdError::kShutdown,
                                   .payload_bytes = verdict.payload_bytes});
  }
  if (ReaderWait wait = admission(); wait != ReaderWait::kNone) return wait;
  return begin(request, verdict);
}

ReaderWait Transmission::begin(const Request& request, const Verdict& verdict) {
  switch (static_cast<Command>(request.command)) {
    case Command::kRead:
      return begin_read(request);
    case Command::kWrite:
      // A long WRITE that is complete is treated as a small one.
      if (request.length <= kSmallWriteBytesMax || input_.has_payload(request.length)) {
        return begin_whole_write(request);
      }
      return begin_large_write(request);
    case Command::kBlockStatus:
      return begin_block_status(request, verdict.payload_bytes);
    case Command::kFlush:
    case Command::kTrim:
    case Command::kCache:
    case Command::kWriteZeroes:
      return begin_other(request);
    case Command::kDisconnect:
      break;
  }
  __builtin_unreachable();
}

ReaderWait Transmission::begin_read(const Request& request) {
  if (request.length == 0) return answer_now(request);
  const ReadPlan plan = plan_known_holes(request);
  if (plan.data.empty()) return answer_hole(request, plan);
  if (answer_from_file(plan)) {
    answered(request);
    return ReaderWait::kInput;
  }
  const bool small = plan.reply_bytes() <= ReplyQueue::kSharedBufferBytes;
  if (small && engine_.is_inside()) {
    const std::span<std::byte> space = output_.reserve_read(plan);
    if (space.empty()) return ReaderWait::kSharedBuffer;
    if (engine_.read_now(plan.data, {.iov_base = space.data(), .iov_len = plan.data.length})) {
      output_.commit_read(plan, space);
      input_.consume();
      answered(request);
      return ReaderWait::kInput;
    }
  }
  const std::size_t budget_bytes = memory_of_read(plan.data.length) + engine_.bounce_bytes(Verb::kRead, plan.data);
  if (!engine_.take_memory(budget_bytes)) {
    if (!engine_.is_memory_scarce()) return ReaderWait::kMemory;
    answer_piece_by_piece(plan);
    answered(request);
    return ReaderWait::kInput;
  }
  input_.consume();
  ReadReply reply{.session = this,
                  .request = request,
                  .buffer = context_.pool.take(kReplyDataStart + plan.data.length),
                  .head_bytes = plan.head_bytes,
                  .data_bytes = plan.data.length,
                  .budget_bytes = budget_bytes};
  std::ranges::copy(plan.head(), reply.buffer.data() + kReplyDataStart - plan.head_bytes);
  const iovec data = reply.data();
  const bool at_once = plan.data.length <= block::Node::kReadAtOnceBytesMax;
  if (!small && at_once && engine_.is_inside() && engine_.read_now(plan.data, data)) {
    reply.answer({});
    return ReaderWait::kInput;
  }
  engine_.start_read("nbd read", to_block_request(request, plan.data), data, std::move(reply));
  return ReaderWait::kInput;
}

// Sending zeros as holes pays only for long READs.
ReadPlan Transmission::plan_known_holes(const Request& request) {
  known_.clear();
  const bool look =
      state_.header_mode != HeaderMode::kSimple && request.length >= kHoleSearchBytesMin && engine_.is_inside();
  // After a failure the list is empty, and everything counts as data.
  if (look) (void)engine_.extents_now(range_of(request), known_);
  ReadPlan plan = plan_read(state_.header_mode, request, known_);
  if (known_.capacity() > kSpareExtentsMax) known_ = block::Extents();
  return plan;
}

ReaderWait Transmission::answer_hole(const Request& request, const ReadPlan& plan) {
  if (!output_.put_hole(plan)) return ReaderWait::kSharedBuffer;
  input_.consume();
  engine_.count_hole(request.length);
  answered(request);
  return ReaderWait::kInput;
}

ReaderWait Transmission::begin_whole_write(const Request& request) {
  const std::size_t length = request.length;
  if (!input_.has_payload(length)) {
    input_.expect_payload(length);
    return ReaderWait::kInput;
  }
  if (length == 0) return answer_now(request);
  if (!output_.reserve_successes(WriteRun::kRequestsMax)) return ReaderWait::kSharedBuffer;
  if (write_whole_now(request)) return ReaderWait::kInput;
  const std::size_t budget_bytes = memory_of_write(length) + engine_.bounce_bytes(Verb::kWrite, range_of(request));
  if (!engine_.take_memory(budget_bytes)) return ReaderWait::kMemory;
  if (alone_writes_ > 0) --alone_writes_;
  Payload payload(length);
  payload.cover(budget_bytes);
  payload.add_piece(context_.pool.take(length));
  for (const iovec& piece : input_.payload_pieces(length)) {
    if (piece.iov_len == 0) continue;
    std::memcpy(payload.space().data(), piece.iov_base, piece.iov_len);
    payload.received(piece.iov_len);
  }
  input_.consume(length);
  start_write(request, std::move(payload));
  return ReaderWait::kInput;
}

// The received payload without the parts that are written already.
void Transmission::start_write(const Request& request, Payload payload) {
  const block::Range range{.offset = request.offset + payload.written_bytes(), .length = payload.part_bytes()};
  engine_.start_write("nbd write", to_block_request(request, range),
                      WriteReply{.session = this, .request = request, .payload = std::move(payload)});
}

// Writes the received bytes inline from the receive window, if the node accepts buffers of any alignment.
ReaderWait Transmission::begin_large_write(const Request& request) {
  const bool hold = can_write_now(request) && engine_.writes_from_anywhere();
  input_.begin_payload(request, hold, engine_.bounce_bytes(Verb::kWrite, range_of(request)));
  return ReaderWait::kPayload;
}

ReaderWait Transmission::finish_large_write() {
  if (ReaderWait wait = admission(); wait != ReaderWait::kNone) return wait;
  const Request request = input_.payload_request();
  // The request has all that memory and needs no more: a started request always gets its reply.
  const bool at_once = !input_.payload().is_split() && output_.reserve_successes(1);
  if (at_once && write_now(request, input_.payload().vectors())) {
    engine_.budget().give_back(input_.payload().budget_bytes());
    input_.drop_payload(true);
  } else {
    start_write(request, input_.take_payload());
  }
  return ReaderWait::kInput;
}

bool Transmission::can_write_now(const Request& request) const {
  return engine_.can_write_now(has_flag(request, command_flag::kFua));
}

// Writes inline or not at all; memory for the reply has been reserved.
bool Transmission::write_now(const Request& request, std::span<const iovec> data) {
  if (!can_write_now(request) || !engine_.write_now(range_of(request), data)) return false;
  output_.succeed(request);
  answered(request);
  return true;
}

// The same for the complete WRITE at the front of the window, together with the WRITEs behind it that continue it.
bool Transmission::write_whole_now(const Request& request) {
  if (!input_.has_payload_in_one_piece(request.length)) {
    if (!write_now(request, input_.payload_pieces(request.length))) return false;
    input_.consume(request.length);
    return true;
  }
  if (!can_write_now(request)) return false;
  const std::size_t requests_max = alone_writes_ > 0 ? 1 : WriteRun::kRequestsMax;
  const WriteRun run(input_.bytes(), state_.header_mode, rules_, requests_max);
  const block::Range range{.offset = run.offset(), .length = run.length()};
  const auto requests = static_cast<std::uint32_t>(run.requests());
  if (!engine_.write_now(range, run.vectors(), requests)) {
    if (requests == 1) return false;
    // A failed joint write does not show which request caused it, or how far it came: each is written and answered
    // alone.
    alone_writes_ = requests;
    return write_whole_now(request);
  }
  if (alone_writes_ > 0) --alone_writes_;
  output_.write_run(run);
  answered_run(run);
  input_.consume_bytes(run.wire_bytes());
  return true;
}

ReaderWait Transmission::begin_block_status(const Request& request, std::uint32_t payload_bytes) {
  if (!input_.has_payload_in_one_piece(payload_bytes)) return ReaderWait::kInput;
  block::Range range = range_of(request);
  std::vector<std::uint32_t> context_ids;
  if (payload_bytes > 0) {
    auto filter = parse_block_status_payload(input_.payload_bytes(payload_bytes), state_.contexts);
    Verdict verdict{.refusal = Refusal::kBadPayload, .error = NbdError::kInvalid, .payload_bytes = payload_bytes};
    if (filter) verdict = rules_.check_status_range(request.offset, filter->length);
    if (!verdict.ok()) {
      verdict.payload_bytes = payload_bytes;
      return reject(request, verdict);
    }
    range.length = filter->length;
    context_ids = std::move(filter->context_ids);
  } else {
    for (const ContextInfo& context : state_.contexts) context_ids.push_back(context.id);
  }
  const std::size_t extents_max = extents_max_of(request, context_ids.size());
  const std::size_t status_bytes = kStatusContextBytes + extents_max * kExtendedExtentBytes;
  const std::size_t budget_bytes = kTaskBytes + context_ids.size() * status_bytes;
  if (!engine_.take_memory(budget_bytes)) return ReaderWait::kMemory;
  input_.consume(payload_bytes);
  ExtentsReply reply{.session = this,
                     .request = request,
                     .reply = StatusReply(request, range, context_ids, extents_max, context_.bitmaps),
                     .budget_bytes = budget_bytes};
  if (engine_.is_inside() && find_status_now(reply.reply)) {
    engine_.served(reply.reply.encoded_bytes());
    reply.answer({});
  } else {
    engine_.start_extents("nbd block status", to_block_request(request, range), std::move(reply));
  }
  return ReaderWait::kInput;
}

// Maximum number of extents of each context of a reply.
std::size_t Transmission::extents_max_of(const Request& request, std::size_t contexts) const {
  if (has_flag(request, command_flag::kOneExtent)) return 1;
  const std::size_t together_max = engine_.is_memory_scarce() ? kScarceReplyExtentsMax : kReplyExtentsMax;
  return std::clamp<std::size_t>(together_max / contexts, 1, std::min(together_max / 2, kExtentsMax));
}

// Adds the extents that the node knows without waiting, and those of bitmaps as far as that takes little time; true
// when the reply is complete.
bool Transmission::find_status_now(StatusReply& reply) {
  block::Extents extents;
  while (!reply.rest().empty()) {
    extents.clear();
    if (!engine_.extents_now(reply.rest(), extents)) return false;
    reply.add(extents);
  }
  // A task reads more words than that, and gives others their turn in between.
  for (std::uint64_t words = 0; block::Edge* gate = reply.next_gate();) {
    if (words >= exports::kBitmapWordsPerTurnMax || !gate->try_enter()) return false;
    words += reply.read_bitmap();
    gate->leave();
  }
  return true;
}

ReaderWait Transmission::begin_other(const Request& request) {
  const bool nothing_to_do = request.length == 0 && !request.is(Command::kFlush);
  if (nothing_to_do) return answer_now(request);
  const BlockRequest block_request = to_block_request(request, range_of(request));
  const std::size_t budget_bytes = kTaskBytes + engine_.bounce_bytes(block_request.verb, block_request.range);
  if (!engine_.take_memory(budget_bytes)) return ReaderWait::kMemory;
  input_.consume();
  engine_.start_other("nbd request", block_request,
                      PlainReply{.session = this, .request = request, .budget_bytes = budget_bytes});
  return ReaderWait::kInput;
}

// Success of a request that returns no data.
ReaderWait Transmission::answer_now(const Request& request) {
  if (!output_.succeed_now(request)) return ReaderWait::kSharedBuffer;
  input_.consume();
  answered(request);
  return ReaderWait::kInput;
}

ReaderWait Transmission::reject(const Request& request, const Verdict& verdict) {
  if (!output_.refuse_now(request, verdict)) return ReaderWait::kSharedBuffer;
  answered(request, verdict.error);
  input_.consume();
  input_.skip(verdict.payload_bytes);
  if (!verdict.disconnect) return ReaderWait::kInput;
  client_left();
  return ReaderWait::kNone;
}

// The reply to a started request without data.
void Transmission::answer(const Request& request, const IoResult& result) {
  if (result) {
    output_.succeed(request);
    answered(request);
  } else {
    answered(request, output_.report_failure(request, result.error()));
  }
}

// The reply of a task was queued, and the engine has counted its end.
void Transmission::request_ended() {
  // The reader sends the replies that became ready while it handled its input.
  if (engine_.in_batch()) return;
  // Replies of requests that end in one turn leave with one send: by the sender, in the next turn. The last running
  // request sends its reply at once.
  if (engine_.requests_in_flight() > 0) return sender_wanted_.set();
  replies_ready();
}

// Writes the received part of a split payload. Meanwhile the payload is not in the reader.
aio::Task<IoResult> Transmission::write_part() {
  if (context_.fence.is_up()) CO_TRY(co_await context_.fence.wait_until_down());
  part_written_.reset();
  engine_.set_received_ns(context_.reactor.now_ns());
  const Request request = input_.payload_request();
  Payload part = input_.take_part();
  const block::Range range{.offset = request.offset + part.written_bytes(), .length = part.part_bytes()};
  engine_.start_write("nbd write part", to_block_request(request, range),
                      PartReply{.session = this, .request = request, .payload = std::move(part)});
  co_return co_await part_written_.wait();
}

}  // namespace blockexport::nbd
