// Extents: where a file has data and where holes, found once at start: what a warm block status answer needs at least.
//
// Thread: one owner. Never looks at the file again.
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
