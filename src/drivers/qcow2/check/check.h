// Consistency check of a qcow2 image, with repair: counts the references to each cluster of the file, and compares them
// with the refcounts.
//
// A coroutine over the node of the image's file, which is not open as an image meanwhile. It takes a turn of the event
// loop for each piece of a table (kCheckPieceBytes) and bounded memory. It counts as `qemu-img check` does; differences
// are in docs/compatibility.md. Thread: any reactor, inside the gate of an edge to the node; a repair needs the
// permissions to write and to resize. Source: docs/interop/qcow2.rst of QEMU.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"
#include "drivers/qcow2/check/check_report.h"

namespace blockexport::drivers::qcow2 {

// Fails when the file is no qcow2 image with a valid header, when the check would exceed a limit, and when a write of
// the repair fails. A repair that ends early, also by a crash, leaves no damage that was not there before.
aio::Task<Result<CheckReport>> check_image(block::Node& file, CheckOptions options);

// For who opens an image for writing: brings an image with the dirty bit, whose refcounts are not valid, to a state
// that may be written, and clears the bit. Does nothing to other images. Fails when damage is left.
aio::Task<Result<>> repair_dirty_image(block::Node& file);

}  // namespace blockexport::drivers::qcow2
