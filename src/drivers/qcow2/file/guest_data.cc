#include "drivers/qcow2/file/guest_data.h"

#include <algorithm>

#include "block/buffers.h"
#include "drivers/qcow2/file/zero_padded_read.h"

namespace blockexport::drivers::qcow2 {

using block::IoBuffers;
using block::Range;

aio::Task<IoResult> GuestData::read(Range host, std::uint64_t guest_offset, IoBuffers buffers) const {
  if (encryption_ == nullptr) co_return co_await read_zero_padded(node(), host, buffers);
  const std::uint64_t sector = sector_of(host, guest_offset);
  const std::uint64_t node_bytes = node().size_bytes();
  if (host.fits(node_bytes)) co_return co_await encryption_->data.read(node(), host, sector, buffers);
  std::uint64_t present = host.offset < node_bytes ? node_bytes - host.offset : 0;
  present -= present % crypto::kSectorBytes;
  block::fill_zero(buffers, present);
  if (present == 0) co_return IoResult();
  const std::vector<iovec> vectors = block::slice(buffers, 0, present);
  co_return co_await encryption_->data.read(node(), {host.offset, present}, sector, vectors);
}

aio::Task<IoResult> GuestData::write(Range host, std::uint64_t guest_offset, IoBuffers buffers) const {
  if (encryption_ == nullptr) return node().write(host, buffers, {.may_grow = true});
  return encryption_->data.write(node(), host, sector_of(host, guest_offset), buffers, {.may_grow = true});
}

aio::Task<IoResult> GuestData::write_zeroes(Range host, std::uint64_t guest_offset) const {
  if (encryption_ == nullptr) return node().write_zeroes(host, {.may_grow = true});
  return encryption_->data.write_zeroes(node(), host, sector_of(host, guest_offset), {.may_grow = true});
}

IoResult GuestData::try_read(aio::Reactor& reactor, Range host, std::uint64_t guest_offset, IoBuffers buffers,
                             block::InlineHints& hints) const {
  if (!host.fits(node().size_bytes())) return fail(EAGAIN);
  if (encryption_ == nullptr) return node().try_read(reactor, host, buffers, hints);
  return encryption_->data.try_read(node(), reactor, host, sector_of(host, guest_offset), buffers, hints);
}

IoResult GuestData::try_write(aio::Reactor& reactor, Range host, std::uint64_t guest_offset, IoBuffers buffers,
                              block::InlineHints& hints) const {
  if (!host.fits(node().size_bytes())) return fail(EAGAIN);
  if (encryption_ == nullptr) return node().try_write(reactor, host, buffers, hints);
  return encryption_->data.try_write(node(), reactor, host, sector_of(host, guest_offset), buffers, hints);
}

}  // namespace blockexport::drivers::qcow2
