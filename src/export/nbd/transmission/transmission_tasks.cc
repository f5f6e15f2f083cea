// The waiting half of the transmission: one task for each request that storage does not answer at once.

#include "aio/reactor.h"
#include "export/nbd/transmission/transmission.h"

namespace blockexport::nbd {
namespace {

// An answer to BLOCK_STATUS of up to this many bytes stands among the small replies; a longer one has its own buffer.
constexpr std::size_t kSmallStatusBytesMax = 16u << 10;

block::Range range_of(const Request& request) {
  return {.offset = request.offset, .length = request.length};
}

bool changes_data(const Request& request) {
  return request.is(Command::kWrite) || request.is(Command::kTrim) || request.is(Command::kWriteZeroes);
}

bool has_flag(const Request& request, std::uint16_t flag) {
  return (request.flags & flag) != 0;
}

// What failed, for the client's user. The error number says the rest.
std::string_view failure_text(const Request& request) {
  switch (static_cast<Command>(request.command)) {
    case Command::kRead:
      return "reading from file failed";
    case Command::kWrite:
      return "writing to file failed";
    case Command::kFlush:
      return "flush failed";
    case Command::kTrim:
      return "discard failed";
    case Command::kCache:
      return "caching data failed";
    case Command::kWriteZeroes:
      return "writing to file failed";
    case Command::kBlockStatus:
      return "can't get block status";
    case Command::kDisconnect:
      break;
  }
  return "request failed";
}

// The number that goes out. ENOTSUP has a meaning of its own on the wire, for fast zeroes only (R154, R167).
NbdError wire_error(const Request& request, Errno error) {
  bool fast_zero = request.is(Command::kWriteZeroes) && has_flag(request, command_flag::kFastZero);
  NbdError on_wire = nbd_error(error);
  return on_wire == NbdError::kNotSupported && !fast_zero ? NbdError::kIo : on_wire;
}

}  // namespace

void Transmission::start(const char* name, const Request& request, aio::Task<void> task) {
  ++requests_in_flight_;
  if (changes_data(request)) ++writes_in_flight_;
  requests_.spawn(name, std::move(task));
}

void Transmission::request_ended(const Request& request) {
  --requests_in_flight_;
  slot_free_.set();
  if (changes_data(request)) --writes_in_flight_;
  lower_fence_when_done();
  // The reader sends what became ready while it handled its input.
  if (handling_input_) return;
  // What ends in one turn leaves with one send: the sender's, in the next turn. The last one has nobody to wait for.
  if (requests_in_flight_ > 0) return sender_wanted_.set();
  replies_ready();
}

// The reply of a started request that carries no data.
void Transmission::answer(const Request& request, IoResult result) {
  if (result) {
    std::span<std::byte> room = replies_.reserve_over_budget(kReplyHeadBytesMax);
    replies_.commit(encode_success(room, state_.header_mode, request));
    trace_end(request);
  } else {
    NbdError error = wire_error(request, result.error());
    std::span<std::byte> room = replies_.reserve_over_budget(kErrorReplyBytesMax);
    replies_.commit(encode_error(room, state_.header_mode, request, error, failure_text(request)));
    trace_end(request, error);
  }
  request_ended(request);
}

// `buffer` has the reply's head already, right before where the data of `range` go.
aio::Task<void> Transmission::serve_read(Request request, block::Range range, aio::Buffer buffer,
                                         std::size_t head_bytes, std::size_t budget_bytes) {
  iovec data{.iov_base = buffer.data() + kReplyDataStart, .iov_len = range.length};
  IoResult result = co_await context_.edge.enter();
  if (result) {
    result = co_await context_.edge.node().read(range, {&data, 1});
    context_.edge.leave();
  }
  if (!result) {
    budget_.give_back(budget_bytes);
    answer(request, result);
    co_return;
  }
  const std::size_t begin = kReplyDataStart - head_bytes;
  replies_.push(std::move(buffer), begin, kReplyDataStart + range.length, budget_bytes);
  trace_end(request);
  request_ended(request);
}

aio::Task<void> Transmission::serve_write(Request request, Payload payload) {
  IoResult result = co_await write_payload(request, payload);
  budget_.give_back(payload.budget_bytes());
  answer(request, result);
}

// Gives the payload back to the reader, which waits for it unless the session has ended.
aio::Task<void> Transmission::serve_part(Request request, Payload payload) {
  IoResult result = co_await write_payload(request, payload);
  const bool is_awaited = states_.ending() == exports::Ending::kOpen;
  if (is_awaited && result) {
    payload.part_written();
    payload_ = std::move(payload);
  } else {
    budget_.give_back(payload.budget_bytes());
    if (is_awaited) skip_bytes_ = payload.missing();
  }
  if (is_awaited) {
    part_rest_bytes_ = 0;
    part_written_.set();
    if (!result) co_return answer(request, result);
  }
  request_ended(request);
}

// What is here of it, which for one that is split is a part.
aio::Task<IoResult> Transmission::write_payload(Request request, const Payload& payload) {
  CO_TRY(co_await context_.edge.enter());
  block::WriteOptions options{.force_unit_access = context_.writethrough || has_flag(request, command_flag::kFua)};
  const block::Range range{.offset = request.offset + payload.written_bytes(), .length = payload.part_bytes()};
  IoResult result = co_await context_.edge.node().write(range, payload.vectors(), options);
  context_.edge.leave();
  co_return result;
}

aio::Task<void> Transmission::serve_other(Request request, std::size_t budget_bytes) {
  IoResult result = co_await context_.edge.enter();
  if (result) {
    result = co_await perform(request);
    context_.edge.leave();
  }
  budget_.give_back(budget_bytes);
  answer(request, result);
}

aio::Task<IoResult> Transmission::perform(Request request) {
  block::Node& node = context_.edge.node();
  const bool force_unit_access = context_.writethrough || has_flag(request, command_flag::kFua);
  switch (static_cast<Command>(request.command)) {
    case Command::kFlush:
      co_return co_await node.flush();
    case Command::kCache:
      co_return co_await node.prefetch(range_of(request));
    case Command::kTrim: {
      CO_TRY(co_await node.discard(range_of(request)));
      if (!force_unit_access) co_return IoResult{};
      co_return co_await node.flush();
    }
    case Command::kWriteZeroes: {
      block::ZeroOptions options{.force_unit_access = force_unit_access,
                                 .may_unmap = !has_flag(request, command_flag::kNoHole),
                                 .no_fallback = has_flag(request, command_flag::kFastZero)};
      co_return co_await node.write_zeroes(range_of(request), options);
    }
    default:
      co_return fail(EINVAL);
  }
}

aio::Task<void> Transmission::serve_block_status(Request request, StatusReply reply, std::size_t budget_bytes) {
  IoResult result = co_await context_.edge.enter();
  if (result) {
    result = co_await collect_status(reply);
    context_.edge.leave();
  }
  if (!result) {
    budget_.give_back(budget_bytes);
    answer(request, result);
    co_return;
  }
  push_status(reply, budget_bytes);
  trace_end(request);
  request_ended(request);
}

aio::Task<IoResult> Transmission::collect_status(StatusReply& reply) {
  block::Extents extents;
  while (!reply.is_whole()) {
    extents.clear();
    CO_TRY(co_await context_.edge.node().extents(reply.rest(), extents));
    reply.add(extents);
  }
  co_return IoResult{};
}

// Queues a reply that is whole; `budget_bytes` were taken for it.
void Transmission::push_status(const StatusReply& reply, std::size_t budget_bytes) {
  const std::size_t reply_bytes = reply.encoded_bytes();
  if (reply_bytes <= kSmallStatusBytesMax) {
    if (std::span<std::byte> room = replies_.reserve(reply_bytes); !room.empty()) {
      replies_.commit(reply.encode(room));
      budget_.give_back(budget_bytes);
      return;
    }
  }
  aio::Buffer buffer = context_.pool.take(reply_bytes);
  std::size_t written = reply.encode({buffer.data(), reply_bytes});
  replies_.push(std::move(buffer), 0, written, budget_bytes);
}

}  // namespace blockexport::nbd
