// `blockexport image check`: the consistency check of an image, with repair; output and exit codes of `qemu-img check`.
//
// Main thread.
#pragma once

#include "base/error.h"
#include "client/image/image_options.h"

namespace blockexport::image {

// Exit codes, besides 0 for an image that is clean and 1 for a check that failed.
inline constexpr int kExitCorrupt = 2;
inline constexpr int kExitLeaks = 3;
inline constexpr int kExitNoCheck = 63;  // the format has no check

// Prints the result; gives the exit code.
Result<int> check(const ImageOptions& options);

}  // namespace blockexport::image
