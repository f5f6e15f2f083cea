// Gives up the clusters of a snapshot that the image has no more, and those of a disk that has become another one.
#pragma once

#include <cstdint>
#include <span>

#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// Takes away the references of the L2 tables in `l1`, offsets or 0, and makes that durable. Step by step: requests wait
// for one step of `step_bytes` bytes of tables at most. An error: the rest is leaked.
aio::Task<IoResult> release_snapshot(ImageParts& parts, std::span<const std::uint64_t> l1, std::uint64_t step_bytes);

// The same for tables whose clusters the disk does not have as its own, while no request is under way.
aio::Task<IoResult> release_former_disk(ImageParts& parts, std::span<const std::uint64_t> l1);

}  // namespace blockexport::drivers::qcow2
