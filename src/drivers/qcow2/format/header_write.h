// HeaderWrite: a write to the first cluster of an image, as a plan of a change has it.
//
// Plain value; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace blockexport::drivers::qcow2 {

// Bytes to be written at that offset, and to be durable before the next write. A write of bytes that the header refers
// to lies in one sector.
struct HeaderWrite {
  std::uint64_t offset = 0;
  std::vector<std::byte> bytes = {};

  friend bool operator==(const HeaderWrite&, const HeaderWrite&) = default;
};

}  // namespace blockexport::drivers::qcow2
