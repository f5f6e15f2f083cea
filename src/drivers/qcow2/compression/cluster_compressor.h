// ClusterCompressor: compresses clusters of one qcow2 image, with the image's type of compression.
//
// It bounds the memory of the clusters that are compressed at the same time: the caller takes a slot first. Worker
// threads compress all but the smallest clusters. Thread: any reactor. Owned by the image's writer. Source:
// docs/interop/qcow2.rst of QEMU, "Additional fields" (compression_type), "Compressed Clusters Descriptor".
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "aio/task/task.h"
#include "base/errno.h"
#include "drivers/qcow2/compression/context_pool.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/work_slots/work_slots.h"

namespace blockexport::drivers::qcow2 {

class ClusterCompressor {
 public:
  // Memory of all clusters that one image compresses at the same time, compressed bytes and contexts included.
  static constexpr std::uint64_t kCompressionBytesMax = 64u << 20;
  // Larger clusters are compressed by worker threads.
  static constexpr std::uint64_t kInlineCompressionBytesMax = 4u << 10;

  // The type must be one that ClusterDecompressor::is_built().
  ClusterCompressor(CompressionType type, std::uint64_t cluster_bytes);
  ~ClusterCompressor();
  ClusterCompressor(const ClusterCompressor&) = delete;
  ClusterCompressor& operator=(const ClusterCompressor&) = delete;

  // Each compression needs one, together with the memory of a cluster and of its compressed bytes.
  WorkSlots& slots() { return slots_; }

  // Writes the compressed bytes to the begin of `compressed`, and returns their number; 0: they do not fit. ENOMEM.
  aio::Task<std::expected<std::uint64_t, Errno>> compress(std::span<const std::byte> cluster,
                                                          std::span<std::byte> compressed);

 private:
  class Context;
  struct Work;
  std::expected<std::uint64_t, Errno> compress_here(std::span<const std::byte> cluster,
                                                    std::span<std::byte> compressed);

  CompressionType type_;
  ContextPool<Context> contexts_;
  WorkSlots slots_;
};

}  // namespace blockexport::drivers::qcow2
