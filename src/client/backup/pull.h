// `blockexport pull`: copies an NBD export into a raw image, or adds a point to a directory of changes.
//
// Blocks; prints its progress to standard error and its result to standard output. Thread: any.
#pragma once

#include "base/error.h"
#include "client/backup/pull_options.h"

namespace blockexport::backup {

// `options` has a target or a directory, and not both. Error: nothing was added to the directory, and no target has its
// name; the hint says how to resume.
Result<> pull(const PullOptions& options);

}  // namespace blockexport::backup
