// GrainReader: reads the bytes of compressed grains of an image of the format VMDK.
//
// It bounds the memory of the grains that are decompressed at the same time: further reads wait. Owned by a
// MappedDriver. Any reactor. Source: VMDK 1.1, "Compressed Grains".
#pragma once

#include <cstdint>

#include "aio/task/task.h"
#include "block/io.h"
#include "block/node.h"
#include "drivers/foreign/map/mapped_disk.h"
#include "drivers/work_slots/work_slots.h"

namespace blockexport::drivers::foreign {

class GrainReader {
 public:
  // Memory of all grains that one image decompresses at the same time, compressed bytes included.
  static constexpr std::uint64_t kDecompressionBytesMax = 64u << 20;
  // Larger grains are decompressed by worker threads.
  static constexpr std::uint64_t kInlineGrainBytesMax = 64u << 10;

  // `grain_bytes`: of the largest grain; at most kVmdkCompressedGrainBytesMax.
  explicit GrainReader(std::uint64_t grain_bytes);

  // Reads the begin of `run`, of kind kCompressed, into the buffers. EIO: the compressed bytes are wrong. ENOMEM.
  aio::Task<IoResult> read(DiskRun run, block::IoBuffers buffers);

 private:
  WorkSlots slots_;
};

}  // namespace blockexport::drivers::foreign
