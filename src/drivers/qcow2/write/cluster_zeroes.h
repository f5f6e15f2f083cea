// Writes of zeroes and discards: changes of guest clusters' entries alone. Thread: any.
#pragma once

#include "block/io.h"
#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// `range` begins and ends at subclusters (clusters in an image without them), or lies in one of them. ENOTSUP, with
// nothing changed: the range has to be written as data.
aio::Task<IoResult> zero_range(ImageParts& parts, const WritePolicy& policy, block::Range range,
                               block::ZeroOptions options);

// `range` begins and ends at clusters. ENOTSUP: bytes of the backing file would appear.
aio::Task<IoResult> discard_range(ImageParts& parts, const WritePolicy& policy, block::Range range);

// The same for a range that does not belong to the disk any more: nothing is left of it.
aio::Task<IoResult> forget_range(ImageParts& parts, const WritePolicy& policy, block::Range range);

}  // namespace blockexport::drivers::qcow2
