// OpeningPlace: the chain of images that led to a node which is being opened, because one of them names it.
//
// A node that a command defines has none. The nodes that its header names, and the nodes that those define or name,
// have one. The graph makes it for each name (ChildOpener::open_named_child), in the frame that opens the name, so
// `above` outlives it. Thread: the control reactor.
#pragma once

#include <cstddef>
#include <vector>

#include "block/host_file.h"

namespace blockexport::block {

struct OpeningPlace {
  const OpeningPlace* above = nullptr;  // that of the image which contains the name; null when a command defined it
  std::size_t depth = 1;                // images above
  std::vector<HostFile> files = {};     // host files of the image that contains the name

  // True if an image above is in that file: opening it once more would never end.
  bool contains(const HostFile& file) const {
    for (const OpeningPlace* place = this; place != nullptr; place = place->above) {
      for (const HostFile& one : place->files) {
        if (one.is_same_as(file)) return true;
      }
    }
    return false;
  }
};

}  // namespace blockexport::block
