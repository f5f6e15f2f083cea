// OverlaySource: supplier of the image of a new overlay, for a step of a change that takes a snapshot.
//
// Implemented in control/, which knows how images are created. Thread: the control reactor.
#pragma once

#include <cstdint>
#include <string>

#include "aio/task/task.h"
#include "base/error.h"
#include "schema/block_core.h"

namespace blockexport::block {

// The node that will be below the overlay.
struct OverlayBase {
  std::string filename;  // as a name inside an image tells it; may be "json:{...}"
  std::string format;    // name of its driver
  std::uint64_t size_bytes = 0;
};

class OverlaySource {
 public:
  // Makes or finds the image, and returns the options of its node, without a name and without a backing node. Called
  // while requests wait and the graph is locked, so it must not use the graph. A failure undoes the change; a file that
  // was made stays.
  virtual aio::Task<Result<schema::BlockdevOptions>> make(OverlayBase base) = 0;

 protected:
  ~OverlaySource() = default;
};

}  // namespace blockexport::block
