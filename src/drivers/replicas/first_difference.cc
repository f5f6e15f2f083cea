#include "drivers/replicas/first_difference.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "block/buffers.h"

namespace blockexport::drivers {

std::optional<std::uint64_t> first_difference(block::IoBuffers buffers, std::span<const std::byte> memory) {
  assert(block::length_of(buffers) == memory.size());
  std::uint64_t done = 0;
  for (const iovec& vector : buffers) {
    const auto* bytes = static_cast<const std::byte*>(vector.iov_base);
    const std::span<const std::byte> other = memory.subspan(done, vector.iov_len);
    if (!other.empty() && std::memcmp(bytes, other.data(), other.size()) != 0) {
      return done + static_cast<std::uint64_t>(std::ranges::mismatch(other, std::span(bytes, other.size())).in1 -
                                               other.begin());
    }
    done += vector.iov_len;
  }
  return std::nullopt;
}

}  // namespace blockexport::drivers
