#include "control/extents.h"

#include <unistd.h>

namespace blockexport::bench {

std::vector<Extent> find_extents(int fd, uint64_t size) {
  std::vector<Extent> extents;
  for (uint64_t offset = 0; offset < size;) {
    off_t data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    uint64_t hole_end = data < 0 ? size : static_cast<uint64_t>(data);
    if (hole_end > offset) {
      extents.push_back({.end = hole_end, .hole = true});
    }
    if (hole_end < size) {
      off_t hole = lseek(fd, static_cast<off_t>(hole_end), SEEK_HOLE);
      extents.push_back({.end = hole < 0 ? size : static_cast<uint64_t>(hole), .hole = false});
    }
    offset = extents.back().end;
  }
  return extents;
}

}  // namespace blockexport::bench
