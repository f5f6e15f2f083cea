// `blockexport image map`: where the bytes of an image and of its chain are; output as that of `qemu-img map`.
//
// Main thread.
#pragma once

#include "base/error.h"
#include "client/image/image_options.h"

namespace blockexport::image {

// Prints the extents in order, joined as far as they are alike.
Result<> print_map(const ImageOptions& options);

}  // namespace blockexport::image
