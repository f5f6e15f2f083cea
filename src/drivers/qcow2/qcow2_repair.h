// repair_before_writing(): repairs the refcounts of an image that was not closed cleanly, before it is opened for
// writing.
//
// Thread: the control reactor, while the node of the image is opened.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"

namespace blockexport::drivers::qcow2 {

// `file` has an image with the dirty bit. The repair holds the locks of a writer on the file meanwhile, because the
// bit may as well mean that another process is writing the image. Fails when there is such a process, when another user
// of this process writes the file, and when damage is left.
aio::Task<Result<>> repair_before_writing(block::Node& file);

}  // namespace blockexport::drivers::qcow2
