// Memory of a request that waits for storage, which it takes from its connection's budget: its buffers, in the sizes of
// the pool; the node's own buffers for unaligned requests; and its tasks. For a small request the data are the smallest
// part.
//
// Plain functions; any thread.
#pragma once

#include <cstddef>

#include "aio/memory/buffer_sizes.h"

namespace blockexport::nbd {

// Coroutine frames of a request's tasks, from the session's down to the driver's, and their list entries.
inline constexpr std::size_t kTaskBytes = 4096;
// Offset of the data of a READ in its own buffer: a page boundary, so that direct I/O can use it; the reply's header is
// right before it.
inline constexpr std::size_t kReplyDataStart = aio::kBufferAlignmentBytes;
// Size of the pieces into which a long write is received.
inline constexpr std::size_t kPieceBytes = 256u << 10;

// Memory of a read of `bytes`, at least 1, with its reply.
constexpr std::size_t memory_of_read(std::size_t bytes) {
  return kTaskBytes + aio::buffer_memory_bytes(kReplyDataStart + bytes);
}

// Memory of a write whose payload of `bytes`, at least 1, is in one buffer.
constexpr std::size_t memory_of_write(std::size_t bytes) {
  return kTaskBytes + aio::buffer_memory_bytes(bytes);
}

// Number of pieces for a payload of `bytes`, which may be 0.
constexpr std::size_t memory_of_pieces(std::size_t bytes) {
  const std::size_t rest = bytes % kPieceBytes;
  return bytes / kPieceBytes * aio::buffer_memory_bytes(kPieceBytes) + (rest == 0 ? 0 : aio::buffer_memory_bytes(rest));
}

}  // namespace blockexport::nbd
