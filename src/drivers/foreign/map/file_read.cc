#include "drivers/foreign/map/file_read.h"

#include "block/buffers.h"

namespace blockexport::drivers::foreign {

aio::Task<IoResult> read_padded(block::Node& file, block::Range range, block::IoBuffers buffers) {
  const std::uint64_t file_bytes = file.size_bytes();
  if (range.fits(file_bytes)) co_return co_await file.read(range, buffers);
  const std::uint64_t present = range.offset < file_bytes ? file_bytes - range.offset : 0;
  block::fill_zero(buffers, present);
  if (present == 0) co_return IoResult();
  const std::vector<iovec> vectors = block::slice(buffers, 0, present);
  co_return co_await file.read({range.offset, present}, vectors);
}

aio::Task<std::expected<std::vector<std::byte>, Errno>> read_bytes(block::Node& file, std::uint64_t offset,
                                                                   std::uint64_t bytes) {
  std::vector<std::byte> content(static_cast<std::size_t>(bytes));
  const iovec vector{content.data(), content.size()};
  if (bytes > 0) CO_TRY(co_await read_padded(file, {offset, bytes}, block::IoBuffers(&vector, 1)));
  co_return content;
}

}  // namespace blockexport::drivers::foreign
