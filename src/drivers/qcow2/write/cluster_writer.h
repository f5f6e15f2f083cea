// Writes of data to guest clusters that need a place in the file first: allocation and copy on write.
//
// The clusters' entries change after their data is in the file, so that no reader and no power cut shows a cluster that
// has another's old data. Thread: any.
#pragma once

#include "drivers/qcow2/map/guest_run.h"
#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// A step of a long write allocates at most this many bytes at once.
inline constexpr std::uint64_t kAllocatedAtOnceBytesMax = 4u << 20;
// A longer step is written by the blocking verb, so that other requests of the reactor do not wait for it.
inline constexpr std::uint64_t kInlineWriteBytesMax = 256u << 10;

// Writes the beginning of `range`, whose first cluster cannot be overwritten in place. Returns the number of bytes
// that are written; 0: the first cluster can be overwritten in place by now.
aio::Task<std::expected<std::uint64_t, Errno>> write_to_new_place(ImageParts& parts, const WritePolicy& policy,
                                                                  block::Range range, block::IoBuffers buffers);

}  // namespace blockexport::drivers::qcow2
