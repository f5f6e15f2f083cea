// SessionState: all that a client and the server agreed on, as one plain value apart from any socket.
//
// The handshake makes it, the transmission phase works from it, a restart may hand it to another process as bytes, and
// a test may write it down by hand. Thread: any; a value. It holds no pointer, no descriptor and no export.
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

// Size constraints in bytes, as told to a client. The defaults are what a client assumes if it is told nothing.
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

// The most contexts a serialised session may carry.
inline constexpr std::size_t kContextsMax = 65536;

struct SessionState {
  bool fixed_newstyle = false;  // the client's own flags
  bool no_zeroes = false;
  bool tls = false;
  HeaderMode header_mode = HeaderMode::kSimple;
  std::uint16_t transmission_flags = transmission_flag::kHasFlags;  // as sent to the client
  std::string export_name;
  std::uint64_t export_bytes = 0;     // the size the client was told
  BlockSizes block_sizes;             // what this client was told, or the defaults
  std::vector<ContextInfo> contexts;  // selected for this export, ids ascending

  friend bool operator==(const SessionState&, const SessionState&) = default;
};

// The state as bytes that deserialize() takes back, in this version of the program or a later one.
std::vector<std::byte> serialize(const SessionState& state);

// The state that `bytes` hold, or the reason why they hold none. Every rule that the handshake keeps is checked, so
// that a state from bytes is as good as a negotiated one.
std::expected<SessionState, std::string_view> deserialize(std::span<const std::byte> bytes);

}  // namespace blockexport::nbd
