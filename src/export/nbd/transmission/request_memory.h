// What a request that waits for storage takes of memory, which is what it takes from its connection's budget: buffers,
// as large as the pool makes them, the node's own for what is not aligned, and its tasks. The data of a small request
// are the least part of it.
//
// Plain functions; any thread.
#pragma once

#include <cstddef>

#include "aio/buffer_sizes.h"

namespace blockexport::nbd {

// The frames of a request's tasks, from the session's down to the driver's, and their place in lists.
inline constexpr std::size_t kTaskBytes = 4096;
// Where the data of a read that gets a buffer of its own begin in it: on the border of a page, so that direct I/O takes
// them as they are; the reply's head stands right before them.
inline constexpr std::size_t kReplyDataStart = aio::kBufferAlignmentBytes;
// A long write is received into pieces of so many bytes.
inline constexpr std::size_t kPieceBytes = 256u << 10;

// A read of `bytes`, at least 1, with its reply.
constexpr std::size_t memory_of_read(std::size_t bytes) {
  return kTaskBytes + aio::buffer_memory_bytes(kReplyDataStart + bytes);
}

// A write whose payload of `bytes`, at least 1, is in one buffer.
constexpr std::size_t memory_of_write(std::size_t bytes) {
  return kTaskBytes + aio::buffer_memory_bytes(bytes);
}

// Pieces for `bytes` of a payload, which may be 0.
constexpr std::size_t memory_of_pieces(std::size_t bytes) {
  const std::size_t rest = bytes % kPieceBytes;
  return bytes / kPieceBytes * aio::buffer_memory_bytes(kPieceBytes) + (rest == 0 ? 0 : aio::buffer_memory_bytes(rest));
}

}  // namespace blockexport::nbd
