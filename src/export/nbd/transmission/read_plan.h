// ReadPlan: layout of the successful reply to one READ: its header, and the range of bytes that it sends as data.
//
// In structured and extended replies, a hole at either end of the range gets a chunk of its own, so its zeros are not
// sent. Both chunks come before the data, because the order of chunks is free and the data may be sent from another
// buffer. A hole between data is sent as zeros. Plain values; thread: any. Never allocates.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "block/io.h"
#include "export/nbd/wire/reply_encoder.h"

namespace blockexport::nbd {

// Maximum size of the header: a hole at each end, and the head of the data.
inline constexpr std::size_t kReadHeadBytesMax = 3 * kReplyHeadBytesMax;

struct ReadPlan {
  block::Range data;  // empty: the header is the whole reply
  std::array<std::byte, kReadHeadBytesMax> head_buffer;
  std::size_t head_bytes = 0;

  std::span<const std::byte> head() const { return {head_buffer.data(), head_bytes}; }
  std::size_t reply_bytes() const { return head_bytes + data.length; }
};

// `extents` are the known extents from the start of the range; they may be empty, or end before it does. With DF in the
// request the reply has one content chunk (R140).
ReadPlan plan_read(HeaderMode mode, const Request& request, std::span<const block::Extent> extents);

}  // namespace blockexport::nbd
