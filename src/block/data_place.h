// DataPlace: where the bytes of a node are, as its own driver tells: for listings of an image's clusters.
//
// A value, true at the moment of the answer; the node lives as long as the edge of the driver leads to it.
#pragma once

#include <cstdint>

namespace blockexport::block {

class Node;

enum class DataPlaceKind : std::uint8_t {
  kBacking,     // not here: in the backing node, or zeros without one
  kZero,        // zeros by the driver's own tables
  kData,        // data, in `node` as they are
  kCompressed,  // data, in another form
  kPassed,      // all of it in `node`, which decides whether it is data
};

struct DataPlace {
  DataPlaceKind kind = DataPlaceKind::kBacking;
  std::uint64_t length = 0;  // at least 1; a longer run may be told in parts
  Node* node = nullptr;      // kData and kPassed; kZero and kBacking if space is reserved for the bytes
  std::uint64_t offset = 0;  // in `node`, of the first byte, if there is a node
};

}  // namespace blockexport::block
