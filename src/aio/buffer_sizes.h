// The sizes in which buffers are kept for reuse: powers of two from 4 KiB on, each with a page more for a reply's head,
// so that a reply of 1 MiB with its head does not take 2 MiB. Plain functions; any thread.
#pragma once

#include <bit>
#include <cstddef>

namespace blockexport::aio {

inline constexpr std::size_t kBufferAlignmentBytes = 4096;

constexpr std::size_t buffer_bytes(std::size_t size_class) {
  return (std::size_t{4096} << size_class) + kBufferAlignmentBytes;
}

// The smallest that holds `bytes`, which are at least 1.
constexpr std::size_t buffer_size_class(std::size_t bytes) {
  constexpr std::size_t kHeadBytes = kBufferAlignmentBytes;
  const std::size_t body = bytes > buffer_bytes(0) ? bytes - kHeadBytes : std::size_t{1};
  return static_cast<std::size_t>(std::bit_width((body - 1) / 4096));
}

// The memory that a buffer for `bytes`, at least 1, may take: as large as it is made, and a page, which the allocator
// loses by aligning one that is not cut from a slab.
constexpr std::size_t buffer_memory_bytes(std::size_t bytes) {
  return buffer_bytes(buffer_size_class(bytes)) + kBufferAlignmentBytes;
}

}  // namespace blockexport::aio
