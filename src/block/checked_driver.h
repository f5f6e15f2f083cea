// CheckedDriver: wrapper of a node's driver, with assertions that the node keeps the guarantees of block/driver.h.
//
// In a build without assertions its verbs are those of the driver, without frames of their own; verbs of a driver with
// a home reactor run there. Owned by a Node. Thread: that of the verbs.
#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "aio/threads/data_reactor.h"
#include "block/announced_changes.h"
#include "block/buffers.h"
#include "block/driver.h"

namespace blockexport::block {

class CheckedDriver {
 public:
  explicit CheckedDriver(std::unique_ptr<Driver> driver)
      : driver_(std::move(driver)), live_(driver_->as_live()), home_(driver_->home()) {}

  // The driver itself, for all functions that are no verbs.
  Driver& operator*() const { return *driver_; }
  Driver* operator->() const { return driver_.get(); }

  // Each call that changes bytes must lie within a change that has begun and not ended.
  void begin_change(const Change& change) { announced_.begin(change); }
  void end_change(const Change& change) { announced_.end(change); }

  aio::Task<IoResult> read(Range range, IoBuffers buffers) {
    assert(takes(range, buffers));
    return run(&Driver::read, range, buffers);
  }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) {
    assert(takes(range, buffers, options.may_grow) && announced_.cover(range));
    return run(&Driver::write, range, buffers, options);
  }
  aio::Task<IoResult> write_zeroes(Range range, ZeroOptions options) {
    assert(takes(range, options.may_grow) && announced_.cover(range));
    return run(&Driver::write_zeroes, range, options);
  }
  aio::Task<IoResult> discard(Range range) {
    assert(takes(range) && announced_.cover(range));
    return run(&Driver::discard, range);
  }
  aio::Task<IoResult> flush() { return run(&Driver::flush); }
  aio::Task<IoResult> extents(Range range, Extents& extents) {
    assert(is_inside(range));
    return run(&Driver::extents, range, extents);
  }
  aio::Task<IoResult> prefetch(Range range) {
    assert(is_inside(range));
    return run(&Driver::prefetch, range);
  }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) { return run(&Driver::grow, size_bytes); }

  IoResult try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, InlineHints& hints) {
    if (!answers_at_once(reactor)) return fail(EAGAIN);
    assert(takes(range, buffers));
    return live_->try_read(reactor, range, buffers, hints);
  }
  IoResult try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, InlineHints& hints) {
    if (!answers_at_once(reactor)) return fail(EAGAIN);
    assert(takes(range, buffers) && announced_.cover(range));
    return live_->try_write(reactor, range, buffers, hints);
  }
  IoResult try_extents(aio::Reactor& reactor, Range range, Extents& extents) {
    if (!answers_at_once(reactor)) return fail(EAGAIN);
    assert(is_inside(range));
    return live_->try_extents(reactor, range, extents);
  }
  std::expected<FileSpan, Errno> try_share(aio::Reactor& reactor, Range range) {
    if (!answers_at_once(reactor)) return fail(EAGAIN);
    assert(is_inside(range));
    return live_->try_share(reactor, range);
  }
  aio::Task<IoResult> read_shared(Range range, IoBuffers buffers) {
    assert(takes(range, buffers));
    return run(&Driver::read_shared, range, buffers);
  }

 private:
  bool answers_at_once(const aio::Reactor& reactor) const {
    return live_ != nullptr && (home_ == nullptr || &home_->reactor == &reactor);
  }

  template <class... Arguments>
  aio::Task<IoResult> run(aio::Task<IoResult> (Driver::*verb)(Arguments...),
                          std::type_identity_t<Arguments>... arguments) {
    if (home_ == nullptr) [[likely]]
      return (driver_.get()->*verb)(arguments...);
    return run_at_home(verb, arguments...);
  }
  template <class... Arguments>
  aio::Task<IoResult> run_at_home(aio::Task<IoResult> (Driver::*verb)(Arguments...),
                                  std::type_identity_t<Arguments>... arguments) {
    IoResult result;
    co_await aio::run_on(*home_, "verb of a block driver", keep_result(result, verb, arguments...));
    co_return result;
  }
  // The verb is also called there, because a driver's verb may begin its work when it is called.
  template <class... Arguments>
  aio::Task<void> keep_result(IoResult& result, aio::Task<IoResult> (Driver::*verb)(Arguments...),
                              std::type_identity_t<Arguments>... arguments) {
    result = co_await (driver_.get()->*verb)(arguments...);
  }

  // The last block may extend past the last byte.
  bool is_inside(Range range, bool may_grow = false) const {
    const std::uint64_t mask = driver_->limits().request_alignment - 1;
    const std::uint64_t size_bytes = may_grow && driver_->can_grow() ? INT64_MAX : driver_->size_bytes();
    return !range.empty() && range.fits((size_bytes + mask) & ~mask);
  }
  bool takes(Range range, bool may_grow = false) const {
    return is_inside(range, may_grow) &&
           ((range.offset | range.length) & (driver_->limits().request_alignment - 1)) == 0;
  }
  bool takes(Range range, IoBuffers buffers, bool may_grow = false) const {
    const Limits limits = driver_->limits();
    return takes(range, may_grow) && length_of(buffers) == range.length && range.length <= limits.transfer_bytes_max &&
           is_aligned(buffers, limits.memory_alignment);
  }

  std::unique_ptr<Driver> driver_;
  LiveDriver* live_;        // the same driver if it is live, or null
  aio::DataReactor* home_;  // the home reactor of the driver, or null
  [[no_unique_address]] AnnouncedChanges announced_;
};

}  // namespace blockexport::block
