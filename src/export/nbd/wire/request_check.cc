#include "export/nbd/wire/request_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "export/nbd/wire/wire_text.h"

namespace blockexport::nbd {
namespace {

constexpr std::uint16_t bit(Command command) {
  return static_cast<std::uint16_t>(1u << std::to_underlying(command));
}

bool changes_data(const Request& request) {
  return request.is(Command::kWrite) || request.is(Command::kTrim) || request.is(Command::kWriteZeroes);
}

// The error number of the reply to a refusal.
NbdError error_of(Refusal refusal, const Request& request) {
  switch (refusal) {
    case Refusal::kNone:
      return NbdError::kNone;
    case Refusal::kReadOnly:
      return NbdError::kNotPermitted;
    case Refusal::kPastEnd: {
      const bool fills_up = request.is(Command::kWrite) || request.is(Command::kWriteZeroes);
      return fills_up ? NbdError::kNoSpace : NbdError::kInvalid;
    }
    default:
      return NbdError::kInvalid;
  }
}

std::string_view command_name(std::uint16_t command) {
  static constexpr std::array<std::string_view, kCommandCount> kNames = {
      "read", "write", "disconnect", "flush", "trim", "cache", "write zeroes", "block status"};
  return command < kCommandCount ? kNames[command] : "<unknown>";
}

}  // namespace

RequestRules::RequestRules(const SessionState& state, UnalignedRequests unaligned)
    : export_bytes_(state.export_bytes),
      alignment_mask_(unaligned == UnalignedRequests::kRefuse ? state.block_sizes.minimum - 1 : 0),
      has_contexts_(!state.contexts.empty()) {
  const auto told = [&](std::uint16_t flag) { return (state.transmission_flags & flag) != 0; };
  read_only_ = told(transmission_flag::kReadOnly);
  payload_filter_ = told(transmission_flag::kBlockStatusPayload);
  filter_bytes_max_ = static_cast<std::uint32_t>(8 + 4 * state.contexts.size());
  const auto flag_if = [](bool wanted, std::uint16_t flag) { return wanted ? flag : std::uint16_t{0}; };
  const auto offer_if = [&](bool wanted, Command command) { offered_commands_ |= flag_if(wanted, bit(command)); };
  for (const Command always : {Command::kRead, Command::kWrite, Command::kDisconnect, Command::kBlockStatus}) {
    offer_if(true, always);
  }
  offer_if(told(transmission_flag::kSendFlush), Command::kFlush);
  offer_if(told(transmission_flag::kSendTrim), Command::kTrim);
  offer_if(told(transmission_flag::kSendCache), Command::kCache);
  offer_if(told(transmission_flag::kSendWriteZeroes), Command::kWriteZeroes);

  valid_flags_.fill(flag_if(told(transmission_flag::kSendFua), command_flag::kFua));
  const auto allow = [&](Command command, std::uint16_t flags) { valid_flags_[std::to_underlying(command)] |= flags; };
  const bool extended = state.header_mode == HeaderMode::kExtended;
  allow(Command::kRead, flag_if(told(transmission_flag::kSendDontFragment), command_flag::kDontFragment));
  allow(Command::kWrite, flag_if(extended, command_flag::kPayloadLength));
  allow(Command::kWriteZeroes, command_flag::kNoHole);
  allow(Command::kWriteZeroes, flag_if(told(transmission_flag::kSendFastZero), command_flag::kFastZero));
  allow(Command::kBlockStatus, command_flag::kOneExtent);
  allow(Command::kBlockStatus, flag_if(payload_filter_, command_flag::kPayloadLength));
}

// The number of bytes that follow the header, and whether they can be read or skipped at all.
Verdict RequestRules::check_payload(const Request& request) const {
  const bool announced = request.extended && (request.flags & command_flag::kPayloadLength) != 0;
  const bool has_payload = announced || request.is(Command::kWrite);
  const bool has_answer = request.is(Command::kRead) || request.is(Command::kCache);
  if ((has_payload || has_answer) && request.length > kPayloadBytesMax) {
    return {.refusal = Refusal::kTooLong, .error = NbdError::kInvalid, .disconnect = has_payload};
  }
  Verdict verdict;
  if (!has_payload) return verdict;
  verdict.payload_bytes = static_cast<std::uint32_t>(request.length);
  const bool status = request.is(Command::kBlockStatus);
  if (status && payload_filter_ && request.length > filter_bytes_max_) {
    verdict.refusal = Refusal::kBadPayload;
  } else if (!request.is(Command::kWrite) && !(status && payload_filter_)) {
    verdict.refusal = Refusal::kUnexpectedPayload;
  }
  return verdict;
}

Refusal RequestRules::check_range(const Request& request) const {
  if (read_only_ && changes_data(request)) return Refusal::kReadOnly;
  // With a payload, the length in the header of a BLOCK_STATUS is that of the payload, not of its range.
  const bool status_payload = request.is(Command::kBlockStatus) && (request.flags & command_flag::kPayloadLength) != 0;
  const std::uint64_t length = status_payload ? 0 : request.length;
  if (is_past_end(request.offset, length)) return Refusal::kPastEnd;
  if (!request.is(Command::kFlush) && is_unaligned(request.offset, length)) return Refusal::kUnaligned;
  return Refusal::kNone;
}

Refusal RequestRules::check_command(const Request& request) const {
  if (request.command >= kCommandCount) return Refusal::kUnknownCommand;
  if ((request.flags & ~valid_flags_[request.command]) != 0) return Refusal::kBadFlags;
  if (!offered(request)) return Refusal::kNotOffered;
  if (!request.is(Command::kBlockStatus)) return Refusal::kNone;
  if (!has_contexts_) return Refusal::kNoContexts;
  return request.length == 0 ? Refusal::kZeroLength : Refusal::kNone;
}

Verdict RequestRules::check(const Request& request) const {
  if (!request.magic_ok) {
    return {.refusal = Refusal::kBadMagic, .error = NbdError::kInvalid, .disconnect = true};
  }
  if (request.is(Command::kDisconnect)) return {};
  Verdict verdict = check_payload(request);
  if (verdict.ok()) verdict.refusal = check_range(request);
  if (verdict.ok()) verdict.refusal = check_command(request);
  verdict.error = error_of(verdict.refusal, request);
  return verdict;
}

Verdict RequestRules::check_status_range(std::uint64_t offset, std::uint64_t length) const {
  Verdict verdict;
  if (is_past_end(offset, length)) {
    verdict.refusal = Refusal::kPastEnd;
  } else if (is_unaligned(offset, length)) {
    verdict.refusal = Refusal::kUnaligned;
  } else if (length == 0) {
    verdict.refusal = Refusal::kZeroLength;
  }
  if (!verdict.ok()) verdict.error = NbdError::kInvalid;
  return verdict;
}

std::string_view RequestRules::describe(const Request& request, const Verdict& verdict, std::span<char> buffer) const {
  const std::string_view name = command_name(request.command);
  const auto write = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
    const std::size_t limit = std::min(buffer.size(), kErrorTextBytesMax);
    const auto end = fmt::format_to_n(buffer.data(), limit, format, std::forward<Args>(args)...);
    return std::string_view(buffer.data(), std::min(end.size, limit));
  };
  switch (verdict.refusal) {
    case Refusal::kNone:
      return {};
    case Refusal::kBadMagic:
      return write("invalid magic in request");
    case Refusal::kTooLong:
      return write("len ({}) is larger than max len ({})", request.length, kPayloadBytesMax);
    case Refusal::kUnexpectedPayload:
      return write("unexpected payload of {} bytes for command {}", request.length, name);
    case Refusal::kReadOnly:
      return write("Export is read-only");
    case Refusal::kPastEnd:
      return write("operation past EOF; From: {}, Len: {}, Size: {}", request.offset, request.length, export_bytes_);
    case Refusal::kUnaligned:
      return write("request is not aligned to {} bytes; From: {}, Len: {}", alignment_mask_ + 1, request.offset,
                   request.length);
    case Refusal::kBadFlags:
      return write("unsupported flags for command {} (got 0x{:x})", name, request.flags);
    case Refusal::kUnknownCommand:
      return write("invalid request type ({}) received", request.command);
    case Refusal::kNotOffered:
      return write("command {} is not offered by this export", name);
    case Refusal::kNoContexts:
      return write("CMD_BLOCK_STATUS not negotiated");
    case Refusal::kZeroLength:
      return write("need non-zero length");
    case Refusal::kBadPayload:
      return write("CMD_BLOCK_STATUS payload not valid");
    case Refusal::kShuttingDown:
      return write("the export is shutting down");
  }
  return {};
}

}  // namespace blockexport::nbd
