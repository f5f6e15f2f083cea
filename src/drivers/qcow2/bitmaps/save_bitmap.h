// save_bitmap(): writes the bits of a dirty bitmap to new clusters of a qcow2 image.
//
// Nothing in the image refers to them until a directory names the table. Memory is one table and one batch of clusters.
// Thread: the control reactor, while no request is under way.
#pragma once

#include <vector>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/bitmap/dirty_bitmap.h"
#include "drivers/qcow2/format/bitmap_directory.h"
#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// Returns the entry of the directory. Adds every cluster that it has taken to `taken`, also when it fails. The errors
// have the texts of qemu-storage-daemon.
aio::Task<Result<StoredBitmap>> save_bitmap(ImageParts& parts, const block::DirtyBitmap& bitmap,
                                            std::vector<HostClusters>& taken);

}  // namespace blockexport::drivers::qcow2
