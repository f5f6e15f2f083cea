#include "drivers/encryption/node_luks_storage.h"

#include <algorithm>

#include "block/buffers.h"

namespace blockexport::drivers {

aio::Task<IoResult> NodeLuksStorage::read(std::uint64_t offset, std::span<std::byte> bytes) {
  if (is_outside(offset, bytes.size())) co_return fail(EINVAL);
  const block::Range range{offset_ + offset, bytes.size()};
  const std::uint64_t node_bytes = node_.size_bytes();
  const std::uint64_t present = range.offset < node_bytes ? std::min(range.length, node_bytes - range.offset) : 0;
  std::ranges::fill(bytes.subspan(present), std::byte{0});
  if (present == 0) co_return IoResult();
  const iovec vector{bytes.data(), present};
  co_return co_await node_.read({range.offset, present}, block::IoBuffers(&vector, 1));
}

aio::Task<IoResult> NodeLuksStorage::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (is_outside(offset, bytes.size())) co_return fail(EINVAL);
  const iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
  co_return co_await node_.write({offset_ + offset, bytes.size()}, block::IoBuffers(&vector, 1), {});
}

aio::Task<IoResult> NodeLuksStorage::flush() {
  return node_.flush();
}

}  // namespace blockexport::drivers
