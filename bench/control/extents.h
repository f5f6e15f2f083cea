// Extents: the data and holes of a file, listed once at start, for the cheapest possible reply to block status.
//
// Thread: one owner. Does not access the file later.
#pragma once

#include <cstdint>
#include <vector>

namespace blockexport::bench {

struct Extent {
  uint64_t end = 0;
  bool hole = false;
};

// The extents of the open file `fd` of `size` bytes, in order, the last one ending at `size`.
std::vector<Extent> find_extents(int fd, uint64_t size);

}  // namespace blockexport::bench
