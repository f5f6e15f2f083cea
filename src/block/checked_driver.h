// CheckedDriver: a node's driver, with assertions that the node keeps the promises of block/driver.h to it.
//
// Its verbs forward without a frame of their own; in a build without assertions they are the driver's. Owned by a Node.
// Thread: that of the verbs.
#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <utility>

#include "block/buffers.h"
#include "block/driver.h"

namespace blockexport::block {

class CheckedDriver {
 public:
  explicit CheckedDriver(std::unique_ptr<Driver> driver) : driver_(std::move(driver)) {}

  // For all that is no verb.
  Driver& operator*() const { return *driver_; }
  Driver* operator->() const { return driver_.get(); }

  aio::Task<IoResult> read(Range range, IoBuffers buffers) {
    assert(takes(range, buffers));
    return driver_->read(range, buffers);
  }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) {
    assert(takes(range, buffers));
    return driver_->write(range, buffers, options);
  }
  aio::Task<IoResult> write_zeroes(Range range, ZeroOptions options) {
    assert(takes(range));
    return driver_->write_zeroes(range, options);
  }
  aio::Task<IoResult> discard(Range range) {
    assert(takes(range));
    return driver_->discard(range);
  }
  aio::Task<IoResult> flush() { return driver_->flush(); }
  aio::Task<IoResult> extents(Range range, Extents& extents) {
    assert(is_inside(range));
    return driver_->extents(range, extents);
  }
  aio::Task<IoResult> prefetch(Range range) {
    assert(is_inside(range));
    return driver_->prefetch(range);
  }
  IoResult try_read(aio::Reactor& reactor, Range range, IoBuffers buffers) {
    assert(takes(range, buffers));
    return driver_->try_read(reactor, range, buffers);
  }
  IoResult try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, std::uint32_t requests) {
    assert(takes(range, buffers));
    return driver_->try_write(reactor, range, buffers, requests);
  }
  IoResult try_extents(aio::Reactor& reactor, Range range, Extents& extents) {
    assert(is_inside(range));
    return driver_->try_extents(reactor, range, extents);
  }
  std::expected<FileSpan, Errno> try_share(aio::Reactor& reactor, Range range) {
    assert(is_inside(range));
    return driver_->try_share(reactor, range);
  }

 private:
  // The last block may end behind the last byte.
  bool is_inside(Range range) const {
    const std::uint64_t mask = driver_->limits().request_alignment - 1;
    return !range.empty() && range.fits((driver_->size_bytes() + mask) & ~mask);
  }
  bool takes(Range range) const {
    return is_inside(range) && ((range.offset | range.length) & (driver_->limits().request_alignment - 1)) == 0;
  }
  bool takes(Range range, IoBuffers buffers) const {
    const Limits limits = driver_->limits();
    return takes(range) && length_of(buffers) == range.length && range.length <= limits.transfer_bytes_max &&
           is_aligned(buffers, limits.memory_alignment);
  }

  std::unique_ptr<Driver> driver_;
};

}  // namespace blockexport::block
