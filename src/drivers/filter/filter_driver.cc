#include "drivers/filter/filter_driver.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Range;

aio::Task<IoResult> FilterDriver::read(Range range, IoBuffers buffers) {
  return file().read(range, buffers);
}

aio::Task<IoResult> FilterDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  return file().write(range, buffers, options);
}

aio::Task<IoResult> FilterDriver::write_zeroes(Range range, block::ZeroOptions options) {
  return file().write_zeroes(range, options);
}

aio::Task<IoResult> FilterDriver::discard(Range range) {
  return file().discard(range);
}

aio::Task<IoResult> FilterDriver::flush() {
  return file().flush();
}

aio::Task<IoResult> FilterDriver::extents(Range range, block::Extents& extents) {
  return file().extents(range, extents);
}

aio::Task<std::expected<block::DataPlace, Errno>> FilterDriver::locate(Range range) {
  co_return block::DataPlace{
      .kind = block::DataPlaceKind::kPassed, .length = range.length, .node = &file(), .offset = range.offset};
}

aio::Task<IoResult> FilterDriver::prefetch(Range range) {
  return file().prefetch(range);
}

IoResult FilterDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  return file().try_read(reactor, range, buffers, hints);
}

IoResult FilterDriver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  return file().try_write(reactor, range, buffers, hints);
}

IoResult FilterDriver::try_extents(aio::Reactor& reactor, Range range, block::Extents& extents) {
  return file().try_extents(reactor, range, extents);
}

std::expected<block::FileSpan, Errno> FilterDriver::try_share(aio::Reactor& reactor, Range range) {
  return file().try_share(reactor, range);
}

aio::Task<IoResult> FilterDriver::read_shared(Range range, IoBuffers buffers) {
  return file().read_shared(range, buffers);
}

block::Limits FilterDriver::limits() const {
  // The child's node aligns for the child.
  return {.optimal_bytes = file().limits().optimal_bytes};
}

}  // namespace blockexport::drivers
