// SuspendedSession: a client's session between two requests, as a value and as bytes: what was agreed on, the bytes
// that were received and belong to requests that did not begin, and the replies that were not sent. With the descriptor
// of the connection it is all that a session is, so that another Transmission can go on with it.
//
// Data of replies that stand in the node are named, not copied: they are read when they are sent. Thread: any; a value.
#pragma once

#include <cstddef>
#include <expected>
#include <span>
#include <string_view>
#include <vector>

#include "block/range.h"
#include "export/nbd/wire/session_state.h"

namespace blockexport::nbd {

// Replies, or parts of them, that stand behind each other: `bytes`, and then `data` of the node, which may be empty.
struct UnsentReply {
  std::vector<std::byte> bytes;
  block::Range data;

  friend bool operator==(const UnsentReply&, const UnsentReply&) = default;
};

// Entries of a serialised session: one for each reply whose data stand in the node, and one for what follows the last.
inline constexpr std::size_t kUnsentRepliesMax = 1025;

struct SuspendedSession {
  SessionState state;
  std::vector<std::byte> unread;  // at most ReceiveWindow::kCapacityBytes
  std::vector<UnsentReply> unsent;

  friend bool operator==(const SuspendedSession&, const SuspendedSession&) = default;
};

// The session as bytes that deserialize_session() takes back, in this version of the program or a later one.
std::vector<std::byte> serialize(const SuspendedSession& session);

// The session that `bytes` hold, or the reason why they hold none: a static text. The members are within their limits
// and within the export; that the bytes in them follow the protocol is for the session to see.
std::expected<SuspendedSession, std::string_view> deserialize_session(std::span<const std::byte> bytes);

}  // namespace blockexport::nbd
