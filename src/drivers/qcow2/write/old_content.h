// read_old_content(): guest bytes as they are now, for the part of a new cluster that a write does not cover.
//
// Thread: any; the caller holds the clusters in ImageParts::changes.
#pragma once

#include <cstddef>
#include <span>

#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// `range` may reach past the end of the disk, where bytes are zeros. `bytes` is as long as the range.
aio::Task<IoResult> read_old_content(ImageParts& parts, block::Range range, std::span<std::byte> bytes);

}  // namespace blockexport::drivers::qcow2
