#include "export/nbd/transmission/reply_writer.h"

#include <algorithm>
#include <array>

namespace blockexport::nbd {
namespace {

// Maximum size of a BLOCK_STATUS reply in the shared buffers; a longer one gets its own buffer.
constexpr std::size_t kSmallStatusBytesMax = 16u << 10;

// Error text for the client's user. The error number gives the details.
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

// The error number of the reply. ENOTSUP has a special meaning in the protocol, for fast zeroes only (R154, R167).
NbdError wire_error(const Request& request, Errno error) {
  const bool fast_zero = request.is(Command::kWriteZeroes) && (request.flags & command_flag::kFastZero) != 0;
  const NbdError on_wire = nbd_error(error);
  return on_wire == NbdError::kNotSupported && !fast_zero ? NbdError::kIo : on_wire;
}

}  // namespace

bool ReplyWriter::succeed_now(const Request& request) {
  const std::span<std::byte> space = queue_.reserve(kReplyHeadBytesMax);
  if (space.empty()) return false;
  queue_.commit(encode_success(space, mode_, request));
  return true;
}

bool ReplyWriter::refuse_now(const Request& request, const Verdict& verdict) {
  const std::span<std::byte> space = queue_.reserve(kErrorReplyBytesMax);
  if (space.empty()) return false;
  std::array<char, kErrorTextBytesMax> text;
  queue_.commit(encode_error(space, mode_, request, verdict.error, rules_.describe(request, verdict, text)));
  return true;
}

bool ReplyWriter::put_hole(const ReadPlan& plan) {
  const std::span<std::byte> space = queue_.reserve(plan.head_bytes);
  if (space.empty()) return false;
  std::ranges::copy(plan.head(), space.begin());
  queue_.commit(plan.head_bytes);
  return true;
}

void ReplyWriter::succeed(const Request& request) {
  queue_.commit(encode_success(queue_.reserve_over_budget(kReplyHeadBytesMax), mode_, request));
}

NbdError ReplyWriter::report_failure(const Request& request, Errno error) {
  const NbdError on_wire = wire_error(request, error);
  const std::span<std::byte> space = queue_.reserve_over_budget(kErrorReplyBytesMax);
  queue_.commit(encode_error(space, mode_, request, on_wire, failure_text(request)));
  return on_wire;
}

void ReplyWriter::write_run(const WriteRun& run) {
  const std::span<std::byte> space = queue_.reserve(run.requests() * kReplyHeadBytesMax);
  std::size_t written = 0;
  for (std::size_t i = 0; i < run.requests(); ++i) {
    written += encode_success(space.subspan(written), mode_, run.request(i));
  }
  queue_.commit(written);
}

void ReplyWriter::put_status(const StatusReply& reply, std::size_t budget_bytes) {
  const std::size_t reply_bytes = reply.encoded_bytes();
  if (reply_bytes <= kSmallStatusBytesMax) {
    if (const std::span<std::byte> space = queue_.reserve(reply_bytes); !space.empty()) {
      queue_.commit(reply.encode(space));
      budget_.give_back(budget_bytes);
      return;
    }
  }
  aio::Buffer buffer = pool_.take(reply_bytes);
  const std::size_t written = reply.encode({buffer.data(), reply_bytes});
  queue_.push(std::move(buffer), 0, written, budget_bytes);
}

}  // namespace blockexport::nbd
