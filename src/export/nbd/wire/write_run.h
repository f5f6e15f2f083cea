// WriteRun: WRITEs that stand behind each other in what a client sent, each for the place where the one before it ends,
// so that storage can take them with one call, straight from where they arrived.
//
// A view of received bytes, valid while they stay where they are. It decides nothing but what belongs together: each
// request in it is whole, may run by the session's rules, and has the flags of the first. Thread: any. Never allocates.
#pragma once

#include <sys/uio.h>

#include <array>
#include <span>

#include "export/nbd/wire/request_check.h"
#include "export/nbd/wire/session_state.h"
#include "export/nbd/wire/wire_codec.h"

namespace blockexport::nbd {

// A WRITE of up to this many bytes is waited for in the receive window, and may join others; what a longer one lacks
// when it is looked at gets pieces of its own.
inline constexpr std::size_t kSmallWriteBytesMax = 64u << 10;

class WriteRun {
 public:
  // Requests of one run; their bytes are limited by what is received ahead.
  static constexpr std::size_t kRequestsMax = 64;

  // `bytes` begin with a WRITE that is whole, not empty and may run; small ones behind it join while they can, up to
  // `requests_max` together (from 1 to kRequestsMax).
  WriteRun(std::span<const std::byte> bytes, HeaderMode mode, const RequestRules& rules,
           std::size_t requests_max = kRequestsMax);

  std::size_t requests() const { return count_; }
  // The i-th request, as it was sent.
  Request request(std::size_t i) const;
  // Where all of it goes: from the first request's offset.
  std::uint64_t offset() const { return offset_; }
  std::uint64_t length() const { return length_; }
  // The payloads, one vector each. Nobody writes through them; iovec only has no const form.
  std::span<const iovec> vectors() const { return {vectors_.data(), count_}; }
  // Headers and payloads: what the run takes up at the front of `bytes`.
  std::size_t wire_bytes() const { return length_ + count_ * request_header_bytes(mode_); }

 private:
  bool joins(const Request& request, const RequestRules& rules) const;
  void add(const Request& request, std::span<const std::byte> payload);

  HeaderMode mode_;
  std::uint16_t flags_ = 0;
  std::uint64_t offset_ = 0;
  std::uint64_t length_ = 0;
  std::size_t count_ = 0;
  std::array<iovec, kRequestsMax> vectors_;  // of which the first count_ mean something
};

}  // namespace blockexport::nbd
