// Size classes of reusable buffers: powers of two from 4 KiB on, each plus a page for a reply's header, so that a reply
// of 1 MiB with its header does not take 2 MiB. Plain functions; any thread.
#pragma once

#include <bit>
#include <cstddef>

namespace blockexport::aio {

inline constexpr std::size_t kBufferAlignmentBytes = 4096;

constexpr std::size_t buffer_bytes(std::size_t size_class) {
  return (std::size_t{4096} << size_class) + kBufferAlignmentBytes;
}

// The smallest class whose buffers hold `bytes`, at least 1.
constexpr std::size_t buffer_size_class(std::size_t bytes) {
  constexpr std::size_t kHeadBytes = kBufferAlignmentBytes;
  const std::size_t body = bytes > buffer_bytes(0) ? bytes - kHeadBytes : std::size_t{1};
  return static_cast<std::size_t>(std::bit_width((body - 1) / 4096));
}

// The memory that a buffer for `bytes`, at least 1, may take: its class's size, and a page that the allocator wastes
// when it aligns a buffer outside the slabs.
constexpr std::size_t buffer_memory_bytes(std::size_t bytes) {
  return buffer_bytes(buffer_size_class(bytes)) + kBufferAlignmentBytes;
}

}  // namespace blockexport::aio
