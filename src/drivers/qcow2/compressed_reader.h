// CompressedReader: reads guest bytes of compressed clusters of a qcow2 image.
//
// It bounds the memory of the clusters that are decompressed at the same time: further reads wait. Decompression of
// large clusters, and of several at the same time, runs on worker threads. Owned by the image's driver.
// Thread: any reactor.
#pragma once

#include <cstdint>

#include "aio/task/task.h"
#include "block/io.h"
#include "block/node.h"
#include "drivers/qcow2/compression/cluster_decompressor.h"
#include "drivers/qcow2/map/guest_run.h"
#include "drivers/work_slots/work_slots.h"

namespace blockexport::drivers::qcow2 {

class CompressedReader {
 public:
  // Memory of all clusters that one image decompresses at the same time, compressed bytes included.
  static constexpr std::uint64_t kDecompressionBytesMax = 64u << 20;
  // Larger clusters are decompressed by worker threads.
  static constexpr std::uint64_t kInlineClusterBytesMax = 64u << 10;

  enum class Where : bool { kInline, kWorker };

  CompressedReader(CompressionType type, std::uint64_t cluster_bytes);

  // Reads the bytes of `run`, of kind kCompressed, whose first byte is `offset_in_cluster` bytes behind the begin of
  // its cluster. `file` has the compressed bytes. EIO: they are not valid. ENOMEM.
  aio::Task<IoResult> read(block::Node& file, GuestRun run, std::uint64_t offset_in_cluster, block::IoBuffers buffers,
                           Where where);

 private:
  struct Work;

  aio::Task<IoResult> read_in_slot(block::Node& file, GuestRun run, std::uint64_t offset_in_cluster,
                                   block::IoBuffers buffers, Where where);
  aio::Task<IoResult> decompress(std::span<const std::byte> compressed, std::span<std::byte> cluster, Where where);

  ClusterDecompressor decompressor_;
  std::uint64_t cluster_bytes_;
  WorkSlots slots_;
};

}  // namespace blockexport::drivers::qcow2
