// `blockexport image create`: a new image, as `qemu-img create` makes it, by the code of blockdev-create.
//
// Main thread.
#pragma once

#include "base/error.h"
#include "client/image/create_options.h"

namespace blockexport::image {

// Makes the image and prints what was made. Wrong options leave an existing file as it was; a later failure leaves no
// new file. The second form is for a caller that has the secrets already.
Result<> create_image(const CreateOptions& options);
Result<> create_image(const CreateOptions& options, const ImageSecrets& secrets);

}  // namespace blockexport::image
