// The child "file" of an image, and errors about it, for the functions that open images.
//
// The control reactor.
#pragma once

#include <memory>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/driver_table.h"
#include "schema/block_core.h"

namespace blockexport::drivers::foreign {

aio::Task<Result<std::unique_ptr<block::Edge>>> open_file(const schema::BlockdevRef& reference,
                                                          block::ChildOpener& children);

// The error of qemu-storage-daemon when a driver gives a number and no text.
Error could_not_open(const block::Edge& file, Errno error);

}  // namespace blockexport::drivers::foreign
