// Reads of a qcow2 image's file that may end past its end, where an image that was not written to its last cluster
// reads as zeros.
//
// Any reactor, inside the gate of an edge above.
#pragma once

#include "aio/task/task.h"
#include "block/io.h"
#include "block/node.h"

namespace blockexport::drivers::qcow2 {

// Reads `range` of `file` into `buffers`; bytes past the end of the file are zeros.
aio::Task<IoResult> read_zero_padded(block::Node& file, block::Range range, block::IoBuffers buffers);

}  // namespace blockexport::drivers::qcow2
