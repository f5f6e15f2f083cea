#include "drivers/qcow2/file/zero_padded_read.h"

#include "block/buffers.h"

namespace blockexport::drivers::qcow2 {

aio::Task<IoResult> read_zero_padded(block::Node& file, block::Range range, block::IoBuffers buffers) {
  const std::uint64_t file_bytes = file.size_bytes();
  if (range.fits(file_bytes)) co_return co_await file.read(range, buffers);
  const std::uint64_t present = range.offset < file_bytes ? file_bytes - range.offset : 0;
  block::fill_zero(buffers, present);
  if (present == 0) co_return IoResult();
  const std::vector<iovec> vectors = block::slice(buffers, 0, present);
  co_return co_await file.read({range.offset, present}, vectors);
}

}  // namespace blockexport::drivers::qcow2
