// Functions for lists of buffers: slices, copies, zeros. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "block/io.h"

namespace blockexport::block {

// Total number of bytes.
std::uint64_t length_of(IoBuffers buffers);

// The part of `buffers` from `offset`, `length` bytes long, which lies within them.
std::vector<iovec> slice(IoBuffers buffers, std::uint64_t offset, std::uint64_t length);

// Copies between `memory` and the part of `buffers` from `offset`, which is at least as long as `memory`.
void copy_out(IoBuffers buffers, std::uint64_t offset, std::span<std::byte> memory);
void copy_in(IoBuffers buffers, std::uint64_t offset, std::span<const std::byte> memory);

// Fills `buffers` from `offset` to their end with zeros.
void fill_zero(IoBuffers buffers, std::uint64_t offset);

bool is_zero(IoBuffers buffers);

// True if the address and the length of every vector are multiples of `alignment` (a power of two).
bool is_aligned(IoBuffers buffers, std::uint32_t alignment);

// Memory of one request, aligned for direct I/O. data() is null when the allocation failed.
class AlignedMemory {
 public:
  AlignedMemory(std::size_t bytes, std::size_t alignment);
  explicit operator bool() const { return memory_ != nullptr; }
  std::span<std::byte> bytes() const { return {memory_.get(), memory_.get_deleter().bytes}; }

 private:
  // From this size on, the destructor returns the pages to the system.
  static constexpr std::size_t kLargeBytes = 128u << 10;

  struct Free {
    void operator()(std::byte* memory) const;
    std::size_t bytes;
  };
  static std::byte* allocate(std::size_t bytes, std::size_t alignment);

  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace blockexport::block
