#include "drivers/compress/compress_driver.h"

#include <fmt/format.h>

#include <algorithm>

namespace blockexport::drivers {

Result<std::unique_ptr<CompressDriver>> CompressDriver::open(std::unique_ptr<block::Edge> file) {
  const block::Driver& driver = file->node().driver();
  if (!driver.can_compress()) {
    return fail(Error(fmt::format("Compression is not supported for underlying format: {}", driver.format_name()))
                    .with_hint("The child 'file' of compress is a qcow2 node."));
  }
  return std::unique_ptr<CompressDriver>(new CompressDriver(std::move(file)));
}

aio::Task<IoResult> CompressDriver::write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) {
  options.compressed = true;
  return file().write(range, buffers, options);
}

block::Limits CompressDriver::limits() const {
  // A format compresses whole clusters, which are also its units of a discard.
  const block::Limits& below = file().limits();
  return {.optimal_bytes = std::max(below.optimal_bytes, below.discard_alignment)};
}

}  // namespace blockexport::drivers
