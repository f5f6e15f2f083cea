// Writes of guest clusters in compressed form.
//
// Compressed clusters follow each other in host clusters that they share. A guest cluster always gets a new place, and
// its entry changes after its data is in the file. Thread: any.
#pragma once

#include "drivers/qcow2/compression/cluster_compressor.h"
#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// Writes `range`, which lies in one guest cluster, with the rest of the cluster as it is now. Returns the length of the
// range; 0, with nothing written: the cluster has a host cluster of its own, or would not become smaller, and the range
// has to be written as it is.
aio::Task<std::expected<std::uint64_t, Errno>> write_compressed(ImageParts& parts, const WritePolicy& policy,
                                                                ClusterCompressor& compressor, block::Range range,
                                                                block::IoBuffers buffers);

}  // namespace blockexport::drivers::qcow2
