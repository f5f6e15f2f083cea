#include "drivers/compress/compress_driver.h"

#include <fmt/format.h>

#include <algorithm>

namespace blockexport::drivers {

using block::IoBuffers;
using block::Range;

Result<std::unique_ptr<CompressDriver>> CompressDriver::open(std::unique_ptr<block::Edge> file) {
  const block::Driver& driver = file->node().driver();
  if (!driver.can_compress()) {
    return fail(Error(fmt::format("Compression is not supported for underlying format: {}", driver.format_name()))
                    .with_hint("The child 'file' of compress is a qcow2 node."));
  }
  return std::unique_ptr<CompressDriver>(new CompressDriver(std::move(file)));
}

aio::Task<IoResult> CompressDriver::read(Range range, IoBuffers buffers) {
  return file().read(range, buffers);
}

aio::Task<IoResult> CompressDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  options.compressed = true;
  return file().write(range, buffers, options);
}

aio::Task<IoResult> CompressDriver::write_zeroes(Range range, block::ZeroOptions options) {
  return file().write_zeroes(range, options);
}

aio::Task<IoResult> CompressDriver::discard(Range range) {
  return file().discard(range);
}

aio::Task<IoResult> CompressDriver::flush() {
  return file().flush();
}

aio::Task<IoResult> CompressDriver::extents(Range range, block::Extents& extents) {
  return file().extents(range, extents);
}

aio::Task<std::expected<block::DataPlace, Errno>> CompressDriver::locate(Range range) {
  co_return block::DataPlace{
      .kind = block::DataPlaceKind::kPassed, .length = range.length, .node = &file(), .offset = range.offset};
}

aio::Task<IoResult> CompressDriver::prefetch(Range range) {
  return file().prefetch(range);
}

IoResult CompressDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  return file().try_read(reactor, range, buffers, hints);
}

IoResult CompressDriver::try_extents(aio::Reactor& reactor, Range range, block::Extents& extents) {
  return file().try_extents(reactor, range, extents);
}

std::expected<block::FileSpan, Errno> CompressDriver::try_share(aio::Reactor& reactor, Range range) {
  return file().try_share(reactor, range);
}

aio::Task<IoResult> CompressDriver::read_shared(Range range, IoBuffers buffers) {
  return file().read_shared(range, buffers);
}

block::Limits CompressDriver::limits() const {
  // A format compresses whole clusters, which are also its units of a discard.
  const block::Limits& below = file().limits();
  return {.optimal_bytes = std::max(below.optimal_bytes, below.discard_alignment)};
}

}  // namespace blockexport::drivers
