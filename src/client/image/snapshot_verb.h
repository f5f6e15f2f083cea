// `blockexport image snapshot`: the snapshots inside an image; results and texts as those of `qemu-img snapshot`.
//
// Main thread.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "client/image/image_options.h"

namespace blockexport::image {

// At most one of them; none: list.
struct SnapshotActions {
  bool lists = false;
  std::optional<std::string> created;  // a name
  std::optional<std::string> deleted;  // a name; the first snapshot that has it
  std::optional<std::string> applied;  // an ID, else a name
};

Result<> change_snapshots(const ImageOptions& options, const SnapshotActions& actions);

}  // namespace blockexport::image
