// The passes over the refcounts of an image: comparison with the references that were counted, and repair in place.
//
// For check_image(), after count_references() with all structures. An Error: the task is cancelled or a write failed.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "drivers/qcow2/check/check_state.h"

namespace blockexport::drivers::qcow2 {

// Reports each cluster whose refcount differs, and remembers those with the refcount 1.
aio::Task<Result<>> compare_refcounts(CheckState& state);

// Writes the counted references into the blocks that the image has. kLeaks: only where the refcount is higher.
aio::Task<Result<>> correct_refcounts(CheckState& state, CheckRepair repair);

}  // namespace blockexport::drivers::qcow2
