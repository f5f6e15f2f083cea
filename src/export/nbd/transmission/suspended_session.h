// SuspendedSession: a client's session between two requests, as a value and as bytes: the negotiated state, the
// received bytes of requests that did not begin, and the unsent replies. Together with the descriptor of the connection
// it is complete, so that another Transmission can continue the session.
//
// Data of unsent replies that are in the node are referred to by range, not copied: they are read when they are sent.
// Thread: any; a value.
#pragma once

#include <cstddef>
#include <expected>
#include <span>
#include <string_view>
#include <vector>

#include "block/range.h"
#include "export/nbd/wire/session_state.h"

namespace blockexport::nbd {

// Consecutive unsent replies, or parts of them: `bytes`, and then `data` of the node, which may be empty.
struct UnsentReply {
  std::vector<std::byte> bytes;
  block::Range data;

  friend bool operator==(const UnsentReply&, const UnsentReply&) = default;
};

// Maximum number of entries of a serialised session: one for each reply with data in the node, and one for the rest.
inline constexpr std::size_t kUnsentRepliesMax = 1025;

struct SuspendedSession {
  SessionState state;
  std::vector<std::byte> unread;  // at most ReceiveWindow::kCapacityBytes
  std::vector<UnsentReply> unsent;

  friend bool operator==(const SuspendedSession&, const SuspendedSession&) = default;
};

// Serialises the session for deserialize_session(), of this version of the program or a later one.
std::vector<std::byte> serialize(const SuspendedSession& session);

// Parses the session in `bytes`, or returns the reason why it is invalid: a static text. Checks that the members are
// within their limits and within the export; the next session checks that their bytes follow the protocol.
std::expected<SuspendedSession, std::string_view> deserialize_session(std::span<const std::byte> bytes);

}  // namespace blockexport::nbd
