// Range: consecutive bytes of a node. Offsets and lengths are in bytes everywhere.
#pragma once

#include <cstdint>

namespace blockexport::block {

struct Range {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  // One past the last byte. The caller has checked that it does not overflow (Range::fits).
  constexpr std::uint64_t end() const { return offset + length; }
  constexpr bool empty() const { return length == 0; }
  // True if it lies within `size` bytes; valid for any values.
  constexpr bool fits(std::uint64_t size) const { return offset <= size && length <= size - offset; }

  friend constexpr bool operator==(Range, Range) = default;
};

}  // namespace blockexport::block
