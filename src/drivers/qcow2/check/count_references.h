// The passes that count the references to the clusters of an image's file: from its header, tables, snapshots, bitmaps
// and refcount structures. They report each entry that is wrong by itself.
//
// For check_image(). An Error: a limit is exceeded, or the task is cancelled; all else is in the state's report.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "drivers/qcow2/check/check_state.h"

namespace blockexport::drivers::qcow2 {

enum class CountedStructures : bool {
  kAll,
  kWithoutRefcounts,  // leaves out the refcount table and the blocks
};

// Counts into state.references, from nothing.
aio::Task<Result<>> count_references(CheckState& state, CountedStructures structures);

// --- its parts ---

// Counts `times` references to each cluster of a region of the file, and reports a region past its end.
Result<> add_region(CheckState& state, std::uint64_t offset, std::uint64_t bytes, std::uint64_t times = 1);
// The entries of one L2 table.
aio::Task<Result<>> count_l2_table(CheckState& state, CheckedTable table);
// Directory, tables and data of the bitmaps.
aio::Task<Result<>> count_bitmaps(CheckState& state);
// Reads all of the snapshot table and reports it when it is not valid; an empty list then.
aio::Task<Result<SnapshotTable>> read_snapshots(CheckState& state);

// Reports a failed read; the error of the task when that was cancelled.
Result<> unreadable(CheckState& state, std::string_view place, Errno error);

}  // namespace blockexport::drivers::qcow2
