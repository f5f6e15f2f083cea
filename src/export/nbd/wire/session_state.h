// SessionState: the negotiated parameters of a session, as one plain value without a socket.
//
// The handshake creates it and the transmission phase uses it; a restart may pass it to another process as bytes, and a
// test may create it by hand. Thread: any. It holds no pointer, no descriptor and no export.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "export/nbd/wire/wire.h"

namespace blockexport::nbd {

// Size constraints in bytes, as sent to a client. The defaults are those that a client assumes when none were sent.
struct BlockSizes {
  std::uint32_t minimum = 1;                 // power of two, at most 65536
  std::uint32_t preferred = 4096;            // power of two, at least 512 and `minimum`
  std::uint32_t maximum = kPayloadBytesMax;  // longest payload, at least `preferred`

  friend bool operator==(const BlockSizes&, const BlockSizes&) = default;
};

// True if the sizes obey the protocol's rules ("Block size constraints").
bool are_valid(const BlockSizes& sizes);

// A metadata context that an export offers, or that a client selected.
struct ContextInfo {
  std::string name;  // "base:allocation", "qemu:dirty-bitmap:NAME", ...
  std::uint32_t id = 0;

  friend bool operator==(const ContextInfo&, const ContextInfo&) = default;
};

// Maximum number of contexts in a serialised session.
inline constexpr std::size_t kContextsMax = 65536;

struct SessionState {
  bool fixed_newstyle = false;  // flag that the client has set
  bool no_zeroes = false;
  bool tls = false;
  HeaderMode header_mode = HeaderMode::kSimple;
  std::uint16_t transmission_flags = transmission_flag::kHasFlags;  // as sent to the client
  std::string export_name;
  std::uint64_t export_bytes = 0;     // the size that the server announced
  BlockSizes block_sizes;             // the sizes that the server announced, or the defaults
  std::vector<ContextInfo> contexts;  // selected for this export, ids ascending

  friend bool operator==(const SessionState&, const SessionState&) = default;
};

// Serialises the state for deserialize(), of this version of the program or a later one.
std::vector<std::byte> serialize(const SessionState& state);

// Parses the state in `bytes`, or returns the reason why it is invalid. Every rule of the handshake is checked, so the
// result is as valid as a negotiated state.
std::expected<SessionState, std::string_view> deserialize(std::span<const std::byte> bytes);

}  // namespace blockexport::nbd
