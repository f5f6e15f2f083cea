// `blockexport image info`: what an image says about itself; output as that of `qemu-img info`.
//
// Main thread.
#pragma once

#include "base/error.h"
#include "client/image/image_options.h"

namespace blockexport::image {

// Prints it, for one image or for each of its chain. Encrypted images need no secret. The second form is for a caller
// that has the secrets already.
Result<> print_info(const ImageOptions& options);
Result<> print_info(const ImageOptions& options, const ImageSecrets& secrets);

}  // namespace blockexport::image
