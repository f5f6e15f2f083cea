// The passes over the flags COPIED of the active tables: comparison with refcounts, and the repair of entries.
//
// For check_image(). An Error: the task is cancelled, or a write failed. Source: docs/interop/qcow2.rst of QEMU,
// "L1 table, L2 table".
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "drivers/qcow2/check/check_state.h"

namespace blockexport::drivers::qcow2 {

// Reports each flag that differs from the refcounts, which compare_refcounts() has remembered.
aio::Task<Result<>> compare_copied_flags(CheckState& state);

// Makes the flags agree with the counted references, which the refcounts agree with by then. It leaves out tables that
// are also something else.
aio::Task<Result<>> correct_copied_flags(CheckState& state);

// Removes the host cluster from entries that have one at an unaligned offset and no data in it.
aio::Task<Result<>> drop_unaligned_clusters(CheckState& state);

}  // namespace blockexport::drivers::qcow2
