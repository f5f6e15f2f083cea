// The plain half of the transmission: what happens to each request before anything has to be waited for.

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "aio/reactor.h"
#include "export/nbd/transmission/transmission.h"
#include "export/nbd/wire/block_status_filter.h"

namespace blockexport::nbd {
namespace {

// Memory that one answer to BLOCK_STATUS may take, for each context.
constexpr std::size_t status_bytes_of(std::size_t extents) {
  return extents * kExtendedExtentBytes + kStructuredHeaderBytes * 2;
}
// Extents of such an answer when others hold the memory.
constexpr std::size_t kScarceExtentsMax = 4096;
constexpr std::size_t kOneExtentStatusBytes = 4096;
// READs from this length on are looked at for holes.
constexpr std::uint64_t kHoleSearchBytesMin = 64u << 10;
// Extents that a connection keeps room for.
constexpr std::size_t kSpareExtentsMax = 16;

block::Range range_of(const Request& request) {
  return {.offset = request.offset, .length = request.length};
}

}  // namespace

// Once through the gate for all that came together, not once for each.
Transmission::ReaderWait Transmission::handle_input() {
  inside_ = context_.edge.try_enter();
  handling_input_ = true;
  ReaderWait wait = handle_requests();
  handling_input_ = false;
  if (std::exchange(inside_, false)) context_.edge.leave();
  return wait;
}

Transmission::ReaderWait Transmission::handle_requests() {
  const std::size_t header_bytes = request_header_bytes(state_.header_mode);
  for (;;) {
    if (skip_bytes_ > 0) {
      std::size_t step = std::min<std::uint64_t>(skip_bytes_, window_.size());
      window_.consume(step);
      skip_bytes_ -= step;
      if (skip_bytes_ > 0) return ReaderWait::kInput;
    }
    if (payload_.active()) {
      if (!payload_.complete()) return ReaderWait::kPayload;
      if (ReaderWait wait = finish_large_write(); wait != ReaderWait::kInput) return wait;
      continue;
    }
    if (window_.bytes().size() < header_bytes) return ReaderWait::kInput;
    if (inline_bytes_ >= kInlineBytesPerTurnMax) return ReaderWait::kTurn;
    std::size_t before = window_.size();
    const Request request = decode_request(window_.bytes(), state_.header_mode);
    trace_begin(request);
    ReaderWait wait = handle_request(request);
    bool taken = window_.size() != before;
    if (taken) begin_is_traced_ = memory_is_scarce_ = false;
    // Nothing was taken: the request is not whole yet.
    if (wait != ReaderWait::kInput || !taken) return wait;
  }
}

// Takes the request out of the window, or leaves all of it there and says what is needed first.
Transmission::ReaderWait Transmission::handle_request(const Request& request) {
  Verdict verdict = rules_.check(request);
  if (!verdict.ok()) return reject(request, verdict);
  if (request.is(Command::kDisconnect)) {
    client_left();
    return ReaderWait::kNone;
  }
  if (is_refusing()) {
    return reject(request, Verdict{.refusal = Refusal::kShuttingDown,
                                   .error = NbdError::kShutdown,
                                   .payload_bytes = verdict.payload_bytes});
  }
  if (is_fenced()) return ReaderWait::kFence;
  if (!has_slot()) return ReaderWait::kSlot;
  return begin(request, verdict);
}

Transmission::ReaderWait Transmission::begin(const Request& request, const Verdict& verdict) {
  const std::size_t header_bytes = request_header_bytes(state_.header_mode);
  switch (static_cast<Command>(request.command)) {
    case Command::kRead:
      return begin_read(request);
    case Command::kWrite:
      // A long one that is there is as good as a small one.
      if (request.length <= kSmallWriteBytesMax || window_.size() >= header_bytes + request.length) {
        return begin_whole_write(request);
      }
      return begin_large_write(request);
    case Command::kBlockStatus:
      return begin_block_status(request, verdict.payload_bytes);
    case Command::kFlush:
    case Command::kTrim:
    case Command::kCache:
    case Command::kWriteZeroes:
      return begin_task(request);
    case Command::kDisconnect:
      break;
  }
  __builtin_unreachable();
}

Transmission::ReaderWait Transmission::begin_read(const Request& request) {
  const std::size_t header_bytes = request_header_bytes(state_.header_mode);
  if (request.length == 0) return answer_now(request);
  const ReadPlan plan = plan_known_holes(request);
  if (plan.data.empty()) return answer_hole(request, plan);
  if (answer_from_file(plan)) {
    trace_end(request);
    return ReaderWait::kInput;
  }
  const std::size_t reply_bytes = plan.reply_bytes();
  const bool small = reply_bytes <= ReplyQueue::kSharedBufferBytes;

  if (small && inside_) {
    std::span<std::byte> room = replies_.reserve(reply_bytes);
    if (room.empty()) return ReaderWait::kSharedBuffer;
    if (read_now(plan, room)) {
      replies_.commit(reply_bytes);
      window_.consume(header_bytes);
      trace_end(request);
      return ReaderWait::kInput;
    }
  }
  const std::size_t budget_bytes = memory_of_read(plan.data.length) + bounce_bytes(request, plan.data);
  if (!take_memory(budget_bytes)) {
    if (!memory_is_scarce_) return ReaderWait::kMemory;
    answer_piece_by_piece(plan);
    trace_end(request);
    return ReaderWait::kInput;
  }
  window_.consume(header_bytes);
  aio::Buffer buffer = context_.pool.take(kReplyDataStart + plan.data.length);
  const std::size_t begin = kReplyDataStart - plan.head_bytes;
  const bool at_once = plan.data.length <= block::Node::kReadAtOnceBytesMax;
  if (!small && at_once && inside_ && read_now(plan, {buffer.data() + begin, reply_bytes})) {
    replies_.push(std::move(buffer), begin, begin + reply_bytes, budget_bytes);
    trace_end(request);
    return ReaderWait::kInput;
  }
  std::ranges::copy(plan.head(), buffer.data() + begin);
  start("nbd read", request, serve_read(request, plan.data, std::move(buffer), plan.head_bytes, budget_bytes));
  return ReaderWait::kInput;
}

// What a client is spared to be sent as zeros is looked for only where that is much.
ReadPlan Transmission::plan_known_holes(const Request& request) {
  known_.clear();
  const bool look = state_.header_mode != HeaderMode::kSimple && request.length >= kHoleSearchBytesMin && inside_;
  // On failure there is nothing in it, and all is data.
  if (look) (void)context_.edge.node().try_extents(context_.reactor, range_of(request), known_);
  ReadPlan plan = plan_read(state_.header_mode, request, known_);
  if (known_.capacity() > kSpareExtentsMax) known_ = block::Extents();
  return plan;
}

Transmission::ReaderWait Transmission::answer_hole(const Request& request, const ReadPlan& plan) {
  std::span<std::byte> room = replies_.reserve(plan.head_bytes);
  if (room.empty()) return ReaderWait::kSharedBuffer;
  std::ranges::copy(plan.head(), room.begin());
  replies_.commit(plan.head_bytes);
  window_.consume(request_header_bytes(state_.header_mode));
  context_.edge.node().statistics().read.count(request.length, {}, 0);
  trace_end(request);
  return ReaderWait::kInput;
}

// The whole reply into `room`, if the page cache has its data.
bool Transmission::read_now(const ReadPlan& plan, std::span<std::byte> room) {
  iovec data{.iov_base = room.data() + plan.head_bytes, .iov_len = plan.data.length};
  if (!context_.edge.node().try_read(context_.reactor, plan.data, {&data, 1})) return false;
  std::ranges::copy(plan.head(), room.begin());
  inline_bytes_ += plan.data.length;
  return true;
}

Transmission::ReaderWait Transmission::begin_whole_write(const Request& request) {
  const std::size_t header_bytes = request_header_bytes(state_.header_mode);
  const std::size_t length = request.length;
  if (window_.size() < header_bytes + length) {
    window_.expect(header_bytes + length);
    return ReaderWait::kInput;
  }
  if (length == 0) return answer_now(request);
  if (replies_.reserve(WriteRun::kRequestsMax * kReplyHeadBytesMax).empty()) return ReaderWait::kSharedBuffer;
  if (write_whole_now(request)) return ReaderWait::kInput;
  const std::size_t budget_bytes = memory_of_write(length) + bounce_bytes(request, range_of(request));
  if (!take_memory(budget_bytes)) return ReaderWait::kMemory;
  if (alone_writes_ > 0) --alone_writes_;
  Payload payload(length);
  payload.cover(budget_bytes);
  payload.add_piece(context_.pool.take(length));
  for (const iovec& piece : window_.pieces(header_bytes, length)) {
    if (piece.iov_len == 0) continue;
    std::memcpy(payload.space().data(), piece.iov_base, piece.iov_len);
    payload.received(piece.iov_len);
  }
  window_.consume(header_bytes + length);
  start("nbd write", request, serve_write(request, std::move(payload)));
  return ReaderWait::kInput;
}

// What is there of it is written from where it is, if the node takes memory that begins and ends anywhere, at once.
Transmission::ReaderWait Transmission::begin_large_write(const Request& request) {
  window_.consume(request_header_bytes(state_.header_mode));
  payload_request_ = request;
  const bool hold = can_write_now(request) && context_.edge.node().limits().request_alignment == 1;
  payload_.begin(request.length, hold ? window_.bytes() : std::span<const std::byte>(),
                 bounce_bytes(request, range_of(request)));
  return ReaderWait::kPayload;
}

Transmission::ReaderWait Transmission::finish_large_write() {
  if (is_fenced()) return ReaderWait::kFence;
  if (!has_slot()) return ReaderWait::kSlot;
  const Request request = *payload_request_;
  const std::size_t held_bytes = payload_.held_bytes();
  // With all that memory it waits for no more of it: a started request has its reply in any case.
  const bool at_once = !payload_.is_split() && !replies_.reserve(kReplyHeadBytesMax).empty();
  if (at_once && write_now(request, payload_.vectors())) {
    drop_payload();
    window_.consume(held_bytes);
  } else {
    if (held_bytes > 0) payload_.own(context_.pool.take(held_bytes));
    window_.consume(held_bytes);
    start("nbd write", request, serve_write(request, std::move(payload_)));
    payload_.clear();
  }
  return ReaderWait::kInput;
}

void Transmission::drop_payload() {
  budget_.give_back(payload_.budget_bytes());
  payload_.clear();
}

// Whether neither durability nor a closed gate stands against writing at once.
bool Transmission::can_write_now(const Request& request) const {
  return (request.flags & command_flag::kFua) == 0 && !context_.writethrough && inside_;
}

// Writes at once or not at all; the reply has been reserved.
bool Transmission::write_now(const Request& request, std::span<const iovec> data) {
  if (!can_write_now(request)) return false;
  if (!context_.edge.node().try_write(context_.reactor, range_of(request), data)) return false;
  inline_bytes_ += request.length;
  replies_.commit(encode_success(replies_.reserve(kReplyHeadBytesMax), state_.header_mode, request));
  trace_end(request);
  return true;
}

// The same for the WRITE that is whole at the front of the window, together with those behind it that continue it.
bool Transmission::write_whole_now(const Request& request) {
  const std::size_t header_bytes = request_header_bytes(state_.header_mode);
  if (window_.bytes().size() < header_bytes + request.length) {
    if (!write_now(request, window_.pieces(header_bytes, request.length))) return false;
    window_.consume(header_bytes + request.length);
    return true;
  }
  if (!can_write_now(request)) return false;
  const std::size_t requests_max = alone_writes_ > 0 ? 1 : WriteRun::kRequestsMax;
  const WriteRun run(window_.bytes(), state_.header_mode, rules_, requests_max);
  const block::Range range{.offset = run.offset(), .length = run.length()};
  const auto requests = static_cast<std::uint32_t>(run.requests());
  if (!context_.edge.node().try_write(context_.reactor, range, run.vectors(), requests)) {
    if (requests == 1) return false;
    // Nobody can tell whose fault it was, or how far it came: each is written, and answered, by itself.
    alone_writes_ = requests;
    return write_whole_now(request);
  }
  if (alone_writes_ > 0) --alone_writes_;
  inline_bytes_ += run.length();
  answer_run(run);
  window_.consume(run.wire_bytes());
  return true;
}

// Success, for each of them; the replies have been reserved.
void Transmission::answer_run(const WriteRun& run) {
  std::span<std::byte> room = replies_.reserve(run.requests() * kReplyHeadBytesMax);
  std::size_t written = 0;
  for (std::size_t i = 0; i < run.requests(); ++i) {
    const Request request = run.request(i);
    written += encode_success(room.subspan(written), state_.header_mode, request);
    // The first one's begin was told when it was looked at.
    trace_begin(request);
    trace_end(request);
    begin_is_traced_ = false;
  }
  replies_.commit(written);
}

Transmission::ReaderWait Transmission::begin_block_status(const Request& request, std::uint32_t payload_bytes) {
  const std::size_t header_bytes = request_header_bytes(state_.header_mode);
  if (window_.bytes().size() < header_bytes + payload_bytes) return ReaderWait::kInput;
  block::Range range = range_of(request);
  std::vector<std::uint32_t> context_ids;
  if (payload_bytes > 0) {
    auto filter = parse_block_status_payload(window_.bytes().subspan(header_bytes, payload_bytes), state_.contexts);
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
  bool one_extent = (request.flags & command_flag::kOneExtent) != 0;
  const std::size_t extents_max = memory_is_scarce_ ? kScarceExtentsMax : kExtentsMax;
  const std::size_t status_bytes = one_extent ? kOneExtentStatusBytes : status_bytes_of(extents_max);
  const std::size_t budget_bytes = kTaskBytes + context_ids.size() * status_bytes;
  if (!take_memory(budget_bytes)) return ReaderWait::kMemory;
  window_.consume(header_bytes + payload_bytes);
  StatusReply reply(request, range, context_ids, extents_max);
  if (inside_ && find_status_now(reply)) {
    inline_bytes_ += reply.encoded_bytes();
    push_status(reply, budget_bytes);
    trace_end(request);
  } else {
    start("nbd block status", request, serve_block_status(request, std::move(reply), budget_bytes));
  }
  return ReaderWait::kInput;
}

// Adds what the node knows without waiting; true when that is all.
bool Transmission::find_status_now(StatusReply& reply) {
  block::Extents extents;
  while (!reply.is_whole()) {
    extents.clear();
    if (!context_.edge.node().try_extents(context_.reactor, reply.rest(), extents)) return false;
    reply.add(extents);
  }
  return true;
}

Transmission::ReaderWait Transmission::begin_task(const Request& request) {
  bool nothing_to_do = request.length == 0 && !request.is(Command::kFlush);
  if (nothing_to_do) return answer_now(request);
  const std::size_t budget_bytes = kTaskBytes + bounce_bytes(request, range_of(request));
  if (!take_memory(budget_bytes)) return ReaderWait::kMemory;
  window_.consume(request_header_bytes(state_.header_mode));
  start("nbd request", request, serve_other(request, budget_bytes));
  return ReaderWait::kInput;
}

// Success, of a request that asks for nothing.
Transmission::ReaderWait Transmission::answer_now(const Request& request) {
  std::span<std::byte> room = replies_.reserve(kReplyHeadBytesMax);
  if (room.empty()) return ReaderWait::kSharedBuffer;
  replies_.commit(encode_success(room, state_.header_mode, request));
  window_.consume(request_header_bytes(state_.header_mode));
  trace_end(request);
  return ReaderWait::kInput;
}

Transmission::ReaderWait Transmission::reject(const Request& request, const Verdict& verdict) {
  std::span<std::byte> room = replies_.reserve(kErrorReplyBytesMax);
  if (room.empty()) return ReaderWait::kSharedBuffer;
  std::array<char, kErrorTextBytesMax> text;
  replies_.commit(
      encode_error(room, state_.header_mode, request, verdict.error, rules_.describe(request, verdict, text)));
  trace_end(request, verdict.error);
  window_.consume(request_header_bytes(state_.header_mode));
  skip_bytes_ = verdict.payload_bytes;
  if (!verdict.disconnect) return ReaderWait::kInput;
  client_left();
  return ReaderWait::kNone;
}

// What the node will take for the part of a request's range that it is asked for. While the gate is closed the node
// may be changing and is not asked: what waits there is counted without.
std::size_t Transmission::bounce_bytes(const Request& request, block::Range range) const {
  if (!inside_) return 0;
  const block::Node& node = context_.edge.node();
  switch (static_cast<Command>(request.command)) {
    case Command::kRead:
    case Command::kWrite:
      return node.bounce_bytes(range);
    case Command::kWriteZeroes:
      return node.bounce_bytes_of_zeroes(range);
    default:
      return 0;
  }
}

// Takes memory for one request; false, and wanted_bytes_ set, when it has to be waited for.
bool Transmission::take_memory(std::size_t bytes) {
  if (credit_bytes_ >= bytes) {
    // What was waited for may turn out more than is needed now.
    budget_.give_back(credit_bytes_ - bytes);
    credit_bytes_ = 0;
    return true;
  }
  budget_.give_back(std::exchange(credit_bytes_, 0));
  wanted_bytes_ = bytes;
  return budget_.try_take(bytes);
}

}  // namespace blockexport::nbd
