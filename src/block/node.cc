#include "block/node.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/image_bitmaps.h"

namespace blockexport::block {
namespace {

// Counts one request on its reactor when finish() gets its result.
class Measurement {
 public:
  Measurement(aio::Reactor& reactor, NodeCounterSets& sets, VerbCounters NodeCounters::* verb, std::uint64_t bytes)
      : reactor_(reactor),
        counters_(sets.on(&reactor)),
        verb_(counters_.*verb),
        bytes_(bytes),
        started_ns_(reactor.now_ns()) {}
  // For a request that was counted as a success before: its time, and its failure.
  IoResult finish_rest(IoResult result) {
    verb_.count(0, result, reactor_.now_ns() - started_ns_, result ? 0 : 1);
    return result;
  }
  IoResult finish(IoResult result) {
    verb_.count(bytes_, result, reactor_.now_ns() - started_ns_);
    return result;
  }
  void wrote(Range range) { counters_.raise_highest_written_offset(range.end()); }

 private:
  aio::Reactor& reactor_;
  NodeCounters& counters_;
  VerbCounters& verb_;
  std::uint64_t bytes_;
  std::uint64_t started_ns_;
};

}  // namespace

Node::Node(std::string name, std::unique_ptr<Driver> driver, NodeOptions options)
    : name_(std::move(name)), driver_(std::move(driver)), options_(options), limits_(driver_->limits()) {}

IoResult Node::check_read(Range range) const {
  if (!range.fits(size_bytes())) return fail(EINVAL);
  return {};
}

IoResult Node::check_write(Range range, bool may_grow) const {
  if (read_only()) return fail(EPERM);
  if (range.fits(size_bytes())) return {};
  if (!may_grow || !range.fits(kNodeBytesMax) || !driver_->can_grow()) return fail(ENOSPC);
  return {};
}

void Node::end_change(const Change& change) {
  driver_.end_change(change);
  // A failed change may have changed bytes too, so the next flush must reach the driver.
  write_generation_.fetch_add(1, std::memory_order_release);
  listeners_.changed(change);
}

void Node::tell_growth(std::uint64_t before_bytes) const {
  if (listeners_.empty()) return;
  if (const std::uint64_t after_bytes = size_bytes(); after_bytes > before_bytes) {
    listeners_.grown(before_bytes, after_bytes);
  }
}

aio::Task<Result<>> Node::resize(std::uint64_t size_bytes) {
  if (read_only()) co_return fail("Image is read-only");
  if (size_bytes > kNodeBytesMax) {
    co_return fail(fmt::format("offset({}) exceeds maximum({})", size_bytes, kNodeBytesMax));
  }
  if (const ImageBitmaps* image = driver_->image_bitmaps()) CO_TRY(image->check_resize(bitmaps_.list(), size_bytes));
  const std::uint64_t before_bytes = this->size_bytes();
  const auto [smaller, larger] = std::minmax(before_bytes, size_bytes);
  const Change change{{smaller, larger - smaller}, ChangeKind::kResize};
  if (IoResult admitted = co_await listeners_.before_change(change); !admitted) {
    co_return fail(Error::system(fmt::format("Could not resize node '{}'", name_), admitted.error()));
  }
  begin_change(change);
  Result<> result = co_await driver_->resize(size_bytes);
  if (result) {
    refresh_limits();
    listeners_.resized(before_bytes, this->size_bytes());
  }
  // The next flush must make the new size durable.
  end_change(change);
  co_return result;
}

void Node::tell_resized(std::uint64_t before_bytes) const {
  const std::uint64_t after_bytes = size_bytes();
  if (after_bytes != before_bytes) listeners_.resized(before_bytes, after_bytes);
}

aio::Task<IoResult> Node::grow(std::uint64_t size_bytes) {
  const std::uint64_t before_bytes = this->size_bytes();
  if (size_bytes <= before_bytes) co_return IoResult();
  CO_TRY(check_write({before_bytes, size_bytes - before_bytes}, true));
  const Change change{{before_bytes, size_bytes - before_bytes}, ChangeKind::kResize};
  CO_TRY(co_await listeners_.before_change(change));
  begin_change(change);
  IoResult result = co_await driver_.grow(size_bytes);
  tell_growth(before_bytes);
  end_change(change);
  co_return result;
}

aio::Task<IoResult> Node::read(Range range, IoBuffers buffers) {
  Measurement measurement(co_await aio::current_reactor(), counters_, &NodeCounters::read, range.length);
  IoResult result = check_read(range);
  if (result && !range.empty()) result = co_await read_any(range, buffers);
  co_return measurement.finish(result);
}

aio::Task<IoResult> Node::write(Range range, IoBuffers buffers, WriteOptions options) {
  Measurement measurement(co_await aio::current_reactor(), counters_, &NodeCounters::write, range.length);
  IoResult result = check_write(range, options.may_grow);
  if (result && !range.empty()) {
    const std::uint64_t before_bytes = size_bytes();
    const Change change = change_of(range, ChangeKind::kWrite);
    if (!listeners_.empty()) result = co_await listeners_.before_change(change);
    if (result) {
      begin_change(change);
      if (options_.detect_zeroes != DetectZeroes::kOff && is_zero(buffers)) {
        ZeroOptions zero{.force_unit_access = options.force_unit_access,
                         .may_unmap = options_.detect_zeroes == DetectZeroes::kUnmap,
                         .may_grow = options.may_grow};
        result = co_await write_zeroes_any(range, zero);
      } else if (limits_.request_alignment == 1 && is_direct(range, buffers)) {
        result = co_await driver_.write(range, buffers, options);
      } else {
        result = co_await write_any(range, buffers, options);
      }
      tell_growth(before_bytes);
      end_change(change);
      if (result) measurement.wrote(range);
    }
  }
  co_return measurement.finish(result);
}

aio::Task<IoResult> Node::write_zeroes(Range range, ZeroOptions options) {
  Measurement measurement(co_await aio::current_reactor(), counters_, &NodeCounters::write_zeroes, range.length);
  IoResult result = check_write(range, options.may_grow);
  if (result && !range.empty()) {
    const std::uint64_t before_bytes = size_bytes();
    const Change change = change_of(range, ChangeKind::kZeroes);
    if (!listeners_.empty()) result = co_await listeners_.before_change(change);
    if (result) {
      if (options_.discard == DiscardMode::kIgnore) options.may_unmap = false;
      begin_change(change);
      result = co_await write_zeroes_any(range, options);
      tell_growth(before_bytes);
      end_change(change);
      if (result) measurement.wrote(range);
    }
  }
  co_return measurement.finish(result);
}

aio::Task<IoResult> Node::discard(Range range) {
  Measurement measurement(co_await aio::current_reactor(), counters_, &NodeCounters::discard, range.length);
  IoResult result = read_only() ? fail(EPERM) : check_read(range);
  if (result && options_.discard == DiscardMode::kUnmap && driver_->can_discard() && !range.empty()) {
    const Range blocks = discardable(range);
    // Listeners are told of the whole range, as a dirty bitmap that is compared with QEMU's needs it.
    const Change change = change_of(range, ChangeKind::kDiscard);
    if (!listeners_.empty()) result = co_await listeners_.before_change(change);
    if (result && blocks.empty()) listeners_.changed(change);
    if (result && !blocks.empty()) {
      begin_change(change);
      result = co_await discard_any(blocks);
      end_change(change);
    }
  }
  co_return measurement.finish(result);
}

aio::Task<IoResult> Node::flush() {
  Measurement measurement(co_await aio::current_reactor(), counters_, &NodeCounters::flush, 0);
  co_return measurement.finish(co_await flush_written());
}

aio::Task<IoResult> Node::flush_written() {
  std::uint64_t generation = write_generation_.load(std::memory_order_acquire);
  // Nothing has ended since the last successful flush; on a read-only node nothing ever does.
  if (flushed_generation_.load(std::memory_order_acquire) == generation && !driver_->owes_flush()) {
    co_return IoResult();
  }
  IoResult result = co_await driver_.flush();
  if (!result) co_return result;
  std::uint64_t seen = flushed_generation_.load(std::memory_order_relaxed);
  while (seen < generation && !flushed_generation_.compare_exchange_weak(seen, generation, std::memory_order_release)) {
  }
  co_return IoResult();
}

bool Node::owes_flush() const {
  return flushed_generation_.load(std::memory_order_acquire) != write_generation_.load(std::memory_order_acquire) ||
         driver_->owes_flush();
}

aio::Task<IoResult> Node::extents(Range range, Extents& extents) {
  if (IoResult checked = check_read(range); !checked || range.empty()) co_return checked;
  co_return co_await driver_.extents(range, extents);
}

aio::Task<IoResult> Node::prefetch(Range range) {
  if (IoResult checked = check_read(range); !checked || range.empty()) co_return checked;
  co_return co_await driver_.prefetch(range);
}

IoResult Node::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers) {
  InlineHints hints{.started_ns = reactor.now_ns()};
  return try_read(reactor, range, buffers, hints);
}

IoResult Node::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, InlineHints& hints) {
  // The blocking verb handles errors and requests that need alignment.
  if (range.empty() || !range.fits(size_bytes()) || !is_direct(range, buffers)) return fail(EAGAIN);
  IoResult result = driver_.try_read(reactor, range, buffers, hints);
  if (!result && result.error() == Errno(EAGAIN)) return result;
  if (hints.ended_ns == 0) hints.ended_ns = reactor.now_ns();
  counters_.on(&reactor).read.count(range.length, result, hints.ended_ns - hints.started_ns);
  return result;
}

std::expected<FileSpan, Errno> Node::try_share(aio::Reactor& reactor, Range range) {
  if (range.empty() || !range.fits(size_bytes())) return fail(EAGAIN);
  Measurement measurement(reactor, counters_, &NodeCounters::read, range.length);
  std::expected<FileSpan, Errno> span = driver_.try_share(reactor, range);
  if (span) (void)measurement.finish({});
  return span;
}

aio::Task<IoResult> Node::read_shared(Range range, IoBuffers buffers) {
  Measurement measurement(co_await aio::current_reactor(), counters_, &NodeCounters::read, 0);
  IoResult result = check_read(range);
  if (result && !range.empty()) {
    // A reopen may have changed the driver's alignment since; then its children also count the bytes around the range.
    if (is_direct(range, buffers)) {
      result = co_await driver_.read_shared(range, buffers);
    } else {
      result = co_await read_any(range, buffers);
    }
  }
  co_return measurement.finish_rest(result);
}

IoResult Node::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, std::uint32_t requests) {
  InlineHints hints{.requests = requests, .started_ns = reactor.now_ns()};
  return try_write(reactor, range, buffers, hints);
}

IoResult Node::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, InlineHints& hints) {
  // With blocks larger than a byte, a write needs the range lock.
  if (range.empty() || read_only() || options_.detect_zeroes != DetectZeroes::kOff || !range.fits(size_bytes()) ||
      limits_.request_alignment != 1 || !is_direct(range, buffers)) {
    return fail(EAGAIN);
  }
  const Change change{range, ChangeKind::kWrite};
  if (!listeners_.empty()) TRY(listeners_.try_before_change(reactor, change));
  begin_change(change);
  IoResult result = driver_.try_write(reactor, range, buffers, hints);
  if (!result) {
    // It may have written a part of the range.
    driver_.end_change(change);
    listeners_.changed(change);
    return result;
  }
  end_change(change);
  NodeCounters& counters = counters_.on(&reactor);
  counters.raise_highest_written_offset(range.end());
  if (hints.ended_ns == 0) hints.ended_ns = reactor.now_ns();
  counters.write.count(range.length, {}, hints.ended_ns - hints.started_ns, hints.requests);
  return {};
}

IoResult Node::try_extents(aio::Reactor& reactor, Range range, Extents& extents) {
  if (range.empty() || !range.fits(size_bytes())) return fail(EAGAIN);
  return driver_.try_extents(reactor, range, extents);
}

}  // namespace blockexport::block
