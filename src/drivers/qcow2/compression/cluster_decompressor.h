// ClusterDecompressor: decompresses the compressed clusters of one qcow2 image.
//
// Takes any bytes: the output never exceeds one cluster, and memory does not depend on the input. It keeps the memory
// of a few decompressions for the next ones. Thread: any, several at once. Owned by the image's driver. Source:
// docs/interop/qcow2.rst of QEMU, "Additional fields" (compression_type), "Compressed Clusters Descriptor".
#pragma once

#include <cstddef>
#include <span>

#include "base/errno.h"
#include "drivers/qcow2/compression/context_pool.h"
#include "drivers/qcow2/format/header.h"

namespace blockexport::drivers::qcow2 {

class ClusterDecompressor {
 public:
  // The type must be one that is_built().
  explicit ClusterDecompressor(CompressionType type);
  ~ClusterDecompressor();
  ClusterDecompressor(const ClusterDecompressor&) = delete;
  ClusterDecompressor& operator=(const ClusterDecompressor&) = delete;

  // True if this program was built with the type's library.
  static bool is_built(CompressionType type);

  // Fills `cluster` from the begin of `compressed`, which may have other bytes behind the compressed ones. EIO: the
  // bytes are not valid, or decompress to less than `cluster`, or, with zstd, to more. ENOMEM.
  IoResult decompress(std::span<const std::byte> compressed, std::span<std::byte> cluster);

 private:
  class Context;

  CompressionType type_;
  ContextPool<Context> contexts_;
};

}  // namespace blockexport::drivers::qcow2
