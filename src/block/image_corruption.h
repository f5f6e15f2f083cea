// ImageCorruption: a contradiction in the metadata of an image. CorruptionObserver: learns of it at once.
//
// The observer outlives the drivers that call it. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "block/range.h"

namespace blockexport::block {

struct ImageCorruption {
  std::string node_name;
  std::string message;
  std::optional<Range> place = std::nullopt;  // of the access that was refused, in the image's file
  // Nothing can be written to the image any more.
  bool is_fatal = false;
};

class CorruptionObserver {
 public:
  virtual void image_corrupted(ImageCorruption corruption) = 0;

 protected:
  ~CorruptionObserver() = default;
};

}  // namespace blockexport::block
