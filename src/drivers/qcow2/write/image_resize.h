// Changes of the size of a qcow2 image's disk, while no request is under way. Thread: the control reactor.
#pragma once

#include "drivers/qcow2/commit/header_fields.h"
#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// Makes the L1 table large enough for `disk_bytes`, in the image too. `fields` are those of the header, and change with
// it. EFBIG: the table would be longer than kL1BytesMax.
aio::Task<IoResult> grow_l1_table(ImageParts& parts, std::uint64_t disk_bytes, DiskFields& fields);

// Makes bytes of the disk that no longer belonged to it read as zeros, and those of the backing file that did not show:
// `range` begins where the disk ended, which has its new size.
aio::Task<IoResult> zero_new_bytes(ImageParts& parts, const WritePolicy& policy, block::Range range,
                                   std::uint64_t backing_bytes);

// Gives up all clusters of the disk behind `disk_bytes`, and makes that durable.
aio::Task<IoResult> forget_behind(ImageParts& parts, const WritePolicy& policy, std::uint64_t disk_bytes);

}  // namespace blockexport::drivers::qcow2
