#include "drivers/qcow2/write/old_content.h"

#include <algorithm>

namespace blockexport::drivers::qcow2 {

aio::Task<IoResult> read_old_content(ImageParts& parts, block::Range range, std::span<std::byte> bytes) {
  const std::uint64_t disk_bytes = parts.guest.disk_bytes();
  const std::uint64_t present = range.offset < disk_bytes ? std::min(range.length, disk_bytes - range.offset) : 0;
  std::ranges::fill(bytes.subspan(present), std::byte{0});
  if (present == 0) co_return IoResult();
  const iovec vector{bytes.data(), present};
  co_return co_await parts.guest.read_guest({range.offset, present}, {&vector, 1});
}

}  // namespace blockexport::drivers::qcow2
