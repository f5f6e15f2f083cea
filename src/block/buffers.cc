#include "block/buffers.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>

#include "base/free_pages.h"

namespace blockexport::block {
namespace {

// Calls visit(memory, length) for each contiguous piece of [offset, offset + length) of `buffers`.
template <class Visit>
void for_each_piece(IoBuffers buffers, std::uint64_t offset, std::uint64_t length, Visit visit) {
  for (const iovec& vector : buffers) {
    if (length == 0) return;
    if (offset >= vector.iov_len) {
      offset -= vector.iov_len;
      continue;
    }
    std::size_t piece = static_cast<std::size_t>(std::min<std::uint64_t>(vector.iov_len - offset, length));
    visit(static_cast<std::byte*>(vector.iov_base) + offset, piece);
    offset = 0;
    length -= piece;
  }
  assert(length == 0);
}

}  // namespace

std::uint64_t length_of(IoBuffers buffers) {
  std::uint64_t total = 0;
  for (const iovec& vector : buffers) total += vector.iov_len;
  return total;
}

std::vector<iovec> slice(IoBuffers buffers, std::uint64_t offset, std::uint64_t length) {
  std::vector<iovec> result;
  result.reserve(buffers.size());
  for_each_piece(buffers, offset, length,
                 [&](std::byte* memory, std::size_t piece) { result.push_back(iovec{memory, piece}); });
  return result;
}

void copy_out(IoBuffers buffers, std::uint64_t offset, std::span<std::byte> memory) {
  std::byte* to = memory.data();
  for_each_piece(buffers, offset, memory.size(), [&](const std::byte* from, std::size_t piece) {
    std::memcpy(to, from, piece);
    to += piece;
  });
}

void copy_in(IoBuffers buffers, std::uint64_t offset, std::span<const std::byte> memory) {
  const std::byte* from = memory.data();
  for_each_piece(buffers, offset, memory.size(), [&](std::byte* to, std::size_t piece) {
    std::memcpy(to, from, piece);
    from += piece;
  });
}

void fill_zero(IoBuffers buffers, std::uint64_t offset) {
  for_each_piece(buffers, offset, length_of(buffers) - offset,
                 [](std::byte* memory, std::size_t piece) { std::memset(memory, 0, piece); });
}

bool is_zero(IoBuffers buffers) {
  for (const iovec& vector : buffers) {
    if (vector.iov_len == 0) continue;
    const auto* bytes = static_cast<const unsigned char*>(vector.iov_base);
    // All bytes are zero if the first one is, and each equals the one before it.
    if (bytes[0] != 0 || std::memcmp(bytes, bytes + 1, vector.iov_len - 1) != 0) return false;
  }
  return true;
}

bool is_aligned(IoBuffers buffers, std::uint32_t alignment) {
  return std::ranges::all_of(buffers, [alignment](const iovec& vector) {
    return ((reinterpret_cast<std::uintptr_t>(vector.iov_base) | vector.iov_len) & (alignment - 1)) == 0;
  });
}

AlignedMemory::AlignedMemory(std::size_t bytes, std::size_t alignment) : memory_(allocate(bytes, alignment), {bytes}) {}

std::byte* AlignedMemory::allocate(std::size_t bytes, std::size_t alignment) {
  if (bytes >= kLargeBytes) alignment = std::max(alignment, kFreedAlignmentBytes);
  return static_cast<std::byte*>(std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment));
}

void AlignedMemory::Free::operator()(std::byte* memory) const {
  if (bytes >= kLargeBytes) return free_pages(memory, bytes);
  std::free(memory);
}

}  // namespace blockexport::block
