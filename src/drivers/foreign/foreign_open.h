// Functions that open an image of each format of this folder: they read its headers and give the driver of the node.
//
// The control reactor. An error is one for users, and that of qemu-storage-daemon where it has one.
#pragma once

#include <memory>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/driver_table.h"
#include "drivers/foreign/mapped_driver.h"
#include "schema/block_core.h"

namespace blockexport::drivers::foreign {

using OpenedMapped = Result<std::unique_ptr<MappedDriver>>;

// `options` and `children` live until the task ends.
aio::Task<OpenedMapped> open_vdi(const schema::BlockdevOptionsGenericFormat& options, block::ChildOpener& children);
aio::Task<OpenedMapped> open_vpc(const schema::BlockdevOptionsGenericFormat& options, block::ChildOpener& children);
aio::Task<OpenedMapped> open_vmdk(const schema::BlockdevOptionsGenericCOWFormat& options, block::ChildOpener& children);
aio::Task<OpenedMapped> open_vhdx(const schema::BlockdevOptionsGenericFormat& options, block::ChildOpener& children);
aio::Task<OpenedMapped> open_parallels(const schema::BlockdevOptionsGenericFormat& options,
                                       block::ChildOpener& children);

}  // namespace blockexport::drivers::foreign
