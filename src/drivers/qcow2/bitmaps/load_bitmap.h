// load_bitmap(): reads the bits of a persistent bitmap from a qcow2 image.
//
// Memory is one piece of the table and one cluster, beside the dirty bits. Thread: any, inside the gate of an edge
// above, or before the image has one.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "block/bitmap/dirty_bits.h"
#include "block/node.h"
#include "drivers/qcow2/format/bitmap_directory.h"

namespace blockexport::drivers::qcow2 {

// `bits`: clean, with the size of the disk and the granularity of `bitmap`, which the directory parser has checked. The
// errors have the texts of qemu-storage-daemon.
aio::Task<Result<>> load_bitmap(block::Node& file, Geometry geometry, StoredBitmap bitmap, block::DirtyBits& bits);

// The entries of the table of a bitmap from `first` on, as many as one piece has. EINVAL: one of them is not valid.
aio::Task<std::expected<std::vector<std::uint64_t>, Errno>> read_bitmap_table(block::Node& file, Geometry geometry,
                                                                              StoredBitmap bitmap, std::uint64_t first);

}  // namespace blockexport::drivers::qcow2
