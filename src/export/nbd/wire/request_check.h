// RequestRules: whether a request may run, judged from the session state alone.
//
// Made once per session; check() is a handful of compares for a good request. Nothing here reads a payload, touches a
// node or allocates; the text of a refusal is rendered only when it is sent. Thread: the session's; immutable.
// Source: proto.md, "Transmission phase"; order of checks and texts as QEMU's server, error numbers as the protocol.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "export/nbd/wire/session_state.h"
#include "export/nbd/wire/wire.h"
#include "export/nbd/wire/wire_codec.h"

namespace blockexport::nbd {

enum class Refusal : std::uint8_t {
  kNone,               // the request may run
  kBadMagic,           // the stream is out of step
  kTooLong,            // longer than kPayloadBytesMax
  kUnexpectedPayload,  // the command takes none
  kReadOnly,           // writes to a read-only export
  kPastEnd,            // reaches past the end of the export
  kUnaligned,          // not aligned to the minimum that this client was told
  kBadFlags,           // flags that the command does not have, or that were not offered
  kUnknownCommand,     // not a command of the protocol
  kNotOffered,         // a command that the transmission flags do not offer
  kNoContexts,         // BLOCK_STATUS without a selected context
  kZeroLength,         // BLOCK_STATUS of nothing
  kBadPayload,         // BLOCK_STATUS with a payload that means nothing
  kShuttingDown,       // the export is going away; decided by the session
};

struct Verdict {
  Refusal refusal = Refusal::kNone;
  NbdError error = NbdError::kNone;
  // True if the connection has to be closed once the error was answered: what follows cannot be skipped.
  bool disconnect = false;
  // Bytes that follow the header. They belong to the request if it may run; else they are skipped before the answer.
  // Never more than kPayloadBytesMax; 0 if `disconnect` is set.
  std::uint32_t payload_bytes = 0;

  bool ok() const { return refusal == Refusal::kNone; }
};

// What to do with requests that are not aligned to a minimum block size the client was told.
enum class UnalignedRequests : std::uint8_t {
  kRefuse,  // EINVAL, as the protocol advises
  kServe,   // as QEMU does: the node reads, changes and writes whole blocks
};

class RequestRules {
 public:
  explicit RequestRules(const SessionState& state, UnalignedRequests unaligned = UnalignedRequests::kRefuse);

  // The verdict on a request as it was decoded. DISC is always ok. BLOCK_STATUS with a payload is ok as far as its
  // header goes: read the payload, then parse_block_status_payload() and check_status_range() say the rest.
  [[nodiscard]] Verdict check(const Request& request) const;

  // The verdict on the range that the payload of a BLOCK_STATUS names.
  [[nodiscard]] Verdict check_status_range(std::uint64_t offset, std::uint64_t length) const;

  // The text that goes with a refusal, written into `buffer`, at most kErrorTextBytesMax bytes.
  std::string_view describe(const Request& request, const Verdict& verdict, std::span<char> buffer) const;

 private:
  bool offered(const Request& request) const { return (offered_commands_ >> request.command & 1) != 0; }
  bool is_past_end(std::uint64_t offset, std::uint64_t length) const {
    return offset > export_bytes_ || length > export_bytes_ - offset;
  }
  bool is_unaligned(std::uint64_t offset, std::uint64_t length) const {
    return ((offset | length) & alignment_mask_) != 0;
  }
  Verdict check_payload(const Request& request) const;
  Refusal check_range(const Request& request) const;
  Refusal check_command(const Request& request) const;

  std::uint64_t export_bytes_;
  std::uint64_t alignment_mask_;
  std::array<std::uint16_t, kCommandCount> valid_flags_{};
  std::uint16_t offered_commands_ = 0;  // bit per command
  bool read_only_;
  bool has_contexts_;
  bool payload_filter_;
  std::uint32_t filter_bytes_max_;  // the longest payload that a BLOCK_STATUS can sensibly have
};

}  // namespace blockexport::nbd
