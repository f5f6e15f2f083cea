// Reads of an image's file that may end past its end, where the file reads as zeros, as qemu-storage-daemon reads it.
//
// Any reactor, inside the gate of an edge above.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "aio/task/task.h"
#include "block/io.h"
#include "block/node.h"

namespace blockexport::drivers::foreign {

aio::Task<IoResult> read_padded(block::Node& file, block::Range range, block::IoBuffers buffers);

// The same into new memory; the caller bounds `bytes`.
aio::Task<std::expected<std::vector<std::byte>, Errno>> read_bytes(block::Node& file, std::uint64_t offset,
                                                                   std::uint64_t bytes);

}  // namespace blockexport::drivers::foreign
