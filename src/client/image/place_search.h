// find_place(): where bytes of an image are: in which layer of its chain, and at which offset of which file.
//
// Thread: the main thread, with the image's nodes held by a root edge.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"

namespace blockexport::image {

// An extent of the image, whose bytes are alike.
struct PlacedExtent {
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  unsigned depth = 0;       // number of images above the one that decides
  bool is_present = false;  // an image of the chain has the bytes, or says that they are zeros
  bool is_zero = false;
  bool is_data = false;
  bool is_compressed = false;
  std::optional<std::uint64_t> offset = std::nullopt;  // in `file`, of the first byte
  std::string file = {};

  // True if `next` begins where this one ends, and is alike.
  bool continues_in(const PlacedExtent& next) const;
};

// The extent at the start of the range, which is not empty and lies in the node; at most as long.
aio::Task<Result<PlacedExtent>> find_place(block::Node& image, block::Range range);

}  // namespace blockexport::image
