// CommonExtents: extents of bytes that several children have in common: zeros where all of them say so, else data.
//
// Plain value; any thread.
#pragma once

#include <optional>

#include "block/io.h"

namespace blockexport::drivers {

class CommonExtents {
 public:
  // Adds the extents of a child, from the start of the same range; at least one.
  void add(const block::Extents& child);

  // At most kExtentsPerCallMax, up to the first byte of which a child told nothing. Empty before the first child.
  const block::Extents& extents() const { return common_; }

 private:
  bool has_child_ = false;
  block::Extents common_;
};

}  // namespace blockexport::drivers
