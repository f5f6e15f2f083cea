// ReadPlan: the form of the successful reply to one READ: what stands before the data, and which bytes are data.
//
// Structured and extended replies tell holes at either end of the range by chunks of their own, which a client need not
// be sent zeros for; both come before the data, because the order of chunks is free and the data may leave from another
// place. A hole between data is sent as zeros. Plain values; thread: any. Never allocates.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "block/io.h"
#include "export/nbd/wire/reply_encoder.h"

namespace blockexport::nbd {

// What stands before the data at most: a hole at each end, and the head of the data.
inline constexpr std::size_t kReadHeadBytesMax = 3 * kReplyHeadBytesMax;

struct ReadPlan {
  block::Range data;  // empty: the reply is its head
  std::array<std::byte, kReadHeadBytesMax> head_room;
  std::size_t head_bytes = 0;

  std::span<const std::byte> head() const { return {head_room.data(), head_bytes}; }
  std::size_t reply_bytes() const { return head_bytes + data.length; }
};

// `extents` is what is known from the start of the range on; it may be empty, or stop before its end. With DF in the
// request there is one chunk of content (R140).
ReadPlan plan_read(HeaderMode mode, const Request& request, std::span<const block::Extent> extents);

}  // namespace blockexport::nbd
