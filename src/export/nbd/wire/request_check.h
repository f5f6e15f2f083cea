// RequestRules: check whether a request may run, from the session state alone.
//
// Made once per session; check() takes a few comparisons for a valid request. It reads no payload, uses no node and
// allocates nothing; the text of a refusal is formatted only when it is sent. Thread: the session's; immutable.
// Source: proto.md, "Transmission phase"; the order of checks and the texts as in QEMU's server, error numbers as in
// the protocol.
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
  kBadMagic,           // the stream is out of sync
  kTooLong,            // longer than kPayloadBytesMax
  kUnexpectedPayload,  // the command has no payload
  kReadOnly,           // writes to a read-only export
  kPastEnd,            // reaches past the end of the export
  kUnaligned,          // not aligned to the minimum block size that the server announced
  kBadFlags,           // flags that the command does not have, or that were not negotiated
  kUnknownCommand,     // not a command of the protocol
  kNotOffered,         // a command that the transmission flags exclude
  kNoContexts,         // BLOCK_STATUS without a selected context
  kZeroLength,         // BLOCK_STATUS of an empty range
  kBadPayload,         // BLOCK_STATUS with an invalid payload
  kShuttingDown,       // the export is being removed; decided by the session
};

struct Verdict {
  Refusal refusal = Refusal::kNone;
  NbdError error = NbdError::kNone;
  // True if the connection must be closed after the error reply, because the following bytes cannot be skipped.
  bool disconnect = false;
  // Number of payload bytes. They belong to the request if it may run; else they are skipped before the reply. At most
  // kPayloadBytesMax; 0 if `disconnect` is set.
  std::uint32_t payload_bytes = 0;

  bool ok() const { return refusal == Refusal::kNone; }
};

// Treatment of requests that are not aligned to a minimum block size that the server announced.
enum class UnalignedRequests : std::uint8_t {
  kRefuse,  // EINVAL, as the protocol advises
  kServe,   // as QEMU does: the node reads, modifies and writes whole blocks
};

class RequestRules {
 public:
  explicit RequestRules(const SessionState& state, UnalignedRequests unaligned = UnalignedRequests::kRefuse);

  // Checks a decoded request. DISC always passes. For a BLOCK_STATUS with a payload only the header is checked: the
  // caller reads the payload, then calls parse_block_status_payload() and check_status_range().
  [[nodiscard]] Verdict check(const Request& request) const;

  // Checks the range in the payload of a BLOCK_STATUS.
  [[nodiscard]] Verdict check_status_range(std::uint64_t offset, std::uint64_t length) const;

  // Writes the text for a refusal into `buffer`, at most kErrorTextBytesMax bytes.
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
  std::uint16_t offered_commands_ = 0;  // one bit for each command
  bool read_only_;
  bool has_contexts_;
  bool payload_filter_;
  std::uint32_t filter_bytes_max_;  // longest valid payload of a BLOCK_STATUS
};

}  // namespace blockexport::nbd
