// WriteRun: consecutive WRITEs in a client's input that continue each other, so that storage can execute them with one
// call, straight from the receive buffer.
//
// A view of received bytes, valid until they move. It only groups requests: each of them is complete, may run by the
// session's rules, and has the flags of the first. Thread: any. Never allocates.
#pragma once

#include <sys/uio.h>

#include <array>
#include <span>

#include "export/nbd/wire/request_check.h"
#include "export/nbd/wire/session_state.h"
#include "export/nbd/wire/wire_codec.h"

namespace blockexport::nbd {

// A WRITE of up to this many bytes is received completely in the receive window, and may join others. The part of a
// longer one that has not arrived yet is received into separate pieces.
inline constexpr std::size_t kSmallWriteBytesMax = 64u << 10;

class WriteRun {
 public:
  // Maximum number of requests of one run; the size of the receive window limits their bytes.
  static constexpr std::size_t kRequestsMax = 64;

  // `bytes` begin with a WRITE that is complete, not empty and may run; following small ones join while they continue
  // it, up to `requests_max` in total (from 1 to kRequestsMax).
  WriteRun(std::span<const std::byte> bytes, HeaderMode mode, const RequestRules& rules,
           std::size_t requests_max = kRequestsMax);

  std::size_t requests() const { return count_; }
  // The i-th request, as decoded.
  Request request(std::size_t i) const;
  // The range of the whole run begins at the first request's offset.
  std::uint64_t offset() const { return offset_; }
  std::uint64_t length() const { return length_; }
  // The payloads, one vector for each. They are read only; iovec has no const form.
  std::span<const iovec> vectors() const { return {vectors_.data(), count_}; }
  // Bytes of the run's headers and payloads at the front of `bytes`.
  std::size_t wire_bytes() const { return length_ + count_ * request_header_bytes(mode_); }

 private:
  bool joins(const Request& request, const RequestRules& rules) const;
  void add(const Request& request, std::span<const std::byte> payload);

  HeaderMode mode_;
  std::uint16_t flags_ = 0;
  std::uint64_t offset_ = 0;
  std::uint64_t length_ = 0;
  std::size_t count_ = 0;
  std::array<iovec, kRequestsMax> vectors_;  // the first count_ are valid
};

}  // namespace blockexport::nbd
