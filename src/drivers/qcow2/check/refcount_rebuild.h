// Makes new refcount blocks and a new refcount table behind the end of an image's file, from the references that were
// counted.
//
// For check_image(). The old table stays in use until all of the new one is durable. An Error: the task is cancelled,
// the table would be too long, or a write failed.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "drivers/qcow2/check/check_state.h"

namespace blockexport::drivers::qcow2 {

// Counts the references anew, without those of the old structures, which are free afterwards.
aio::Task<Result<>> rebuild_refcounts(CheckState& state);

}  // namespace blockexport::drivers::qcow2
