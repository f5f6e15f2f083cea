// FileDriver's write_zeroes and discard: holes where the file system or device makes them, zeros written where not.
#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <array>

#include "aio/current.h"
#include "aio/reactor.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

using block::Range;

// One step of writing zeros: kZeroVectors times the same page of them.
constexpr std::size_t kZeroBytes = 64u << 10;
constexpr std::size_t kZeroVectors = 16;
alignas(4096) constexpr std::array<std::byte, kZeroBytes> kZeros{};

// "Never here", as against "not this one": EINVAL is for a range that the device cannot take, being no whole blocks.
bool is_refusal(Errno error) {
  return error == Errno(EOPNOTSUPP) || error == Errno(ENOSYS) || error == Errno(ENOTTY);
}

// The parts of a range in a device that has blocks.
struct Blocks {
  Range head;  // before the first whole block, or all when there is none
  Range whole;
  Range tail;
};

Blocks split(Range range, std::uint64_t block_bytes) {
  const std::uint64_t start = (range.offset + block_bytes - 1) / block_bytes * block_bytes;
  const std::uint64_t end = range.end() / block_bytes * block_bytes;
  if (start >= end) return {.head = range, .whole = {}, .tail = {}};
  return {
      .head = {range.offset, start - range.offset}, .whole = {start, end - start}, .tail = {end, range.end() - end}};
}

// What the kernel answered, with all ways to say that it cannot as ENOTSUP; `refused` remembers.
IoResult as_answer(IoResult result, std::atomic<bool>& refused) {
  if (result) return result;
  if (is_refusal(result.error())) refused.store(true, std::memory_order_relaxed);
  if (is_refusal(result.error()) || result.error() == Errno(EINVAL)) return fail(ENOTSUP);
  return result;
}

}  // namespace

aio::Task<IoResult> FileDriver::allocate(aio::Reactor& reactor, int mode, Range range, std::atomic<bool>& refused) {
  if (refused.load(std::memory_order_relaxed)) co_return fail(ENOTSUP);
  co_return as_answer(co_await reactor.allocate(fd_, mode, range.offset, range.length), refused);
}

aio::Task<IoResult> FileDriver::write_zeroes(Range range, block::ZeroOptions options) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  // Bytes that come with the growth are zeros already, but have no space.
  if (options.may_grow && is_past_end(range)) CO_TRY(co_await grow(range.end()));
  IoResult result;
  {
    ExtentCache::Freeing freeing(extents_, range);
    result = is_device() ? co_await zero_in_device(reactor, range, options.may_unmap)
                         : co_await zero_by_file_system(reactor, range, options.may_unmap);
  }
  bool data_sync = options.force_unit_access && !options_.no_flush;
  if (result) {
    if (data_sync) co_return block::after_a_change(co_await sync(reactor));
    co_return result;
  }
  if (result.error() != Errno(ENOTSUP) || options.no_fallback) co_return result;
  co_return co_await (data_sync ? write_durably(range, {}) : write_zero_buffers(range, false));
}

// ENOTSUP: nothing has changed.
aio::Task<IoResult> FileDriver::zero_by_file_system(aio::Reactor& reactor, Range range, bool may_unmap) {
  constexpr int kPunchHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  constexpr int kZeroRange = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  if (may_unmap) {
    IoResult result = co_await allocate(reactor, kPunchHole, range, no_punch_hole_);
    if (result || result.error() != Errno(ENOTSUP)) co_return result;
  }
  IoResult result = co_await allocate(reactor, kZeroRange, range, no_zero_range_);
  if (result || result.error() != Errno(ENOTSUP)) co_return result;
  // A hole that is filled with space again: zeros, and the space is ours. Whether it can be filled is found out before
  // there is a hole: space for what has some already changes nothing.
  if (!allocates_.load(std::memory_order_relaxed)) {
    CO_TRY(co_await allocate(reactor, FALLOC_FL_KEEP_SIZE, range, no_allocate_));
    allocates_.store(true, std::memory_order_relaxed);
  }
  CO_TRY(co_await allocate(reactor, kPunchHole, range, no_punch_hole_));
  result = co_await allocate(reactor, FALLOC_FL_KEEP_SIZE, range, no_allocate_);
  if (result || result.error() != Errno(ENOTSUP)) co_return result;
  co_return co_await write_zero_buffers(range, false);
}

// Whole blocks by the device, the rest as data. ENOTSUP: nothing has changed.
aio::Task<IoResult> FileDriver::zero_in_device(aio::Reactor& reactor, Range range, bool may_unmap) {
  const Blocks blocks = split(range, device_block_bytes_);
  const bool can_punch = may_unmap && !no_punch_hole_.load(std::memory_order_relaxed);
  if (blocks.whole.empty() || !(can_punch || !no_device_zero_out_.load(std::memory_order_relaxed))) {
    co_return fail(ENOTSUP);
  }
  IoResult result = co_await zero_blocks(reactor, blocks.whole, may_unmap);
  // The kernel has dropped what its page cache had of the range before it asked the device: from here on nobody may be
  // told that nothing has changed.
  if (!result && result.error() == Errno(ENOTSUP)) result = co_await write_zero_buffers(blocks.whole, false);
  if (result) result = co_await write_zero_buffers(blocks.head, false);
  if (result) result = co_await write_zero_buffers(blocks.tail, false);
  co_return block::after_a_change(result);
}

aio::Task<IoResult> FileDriver::zero_blocks(aio::Reactor& reactor, Range range, bool may_unmap) {
  // The device's own choice between unmapping and writing; a hole punched in a device reads as zeros or fails.
  if (may_unmap) {
    constexpr int kPunchHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    IoResult result = co_await allocate(reactor, kPunchHole, range, no_punch_hole_);
    if (result || result.error() != Errno(ENOTSUP)) co_return result;
  }
  if (no_device_zero_out_.load(std::memory_order_relaxed)) co_return fail(ENOTSUP);
  co_return as_answer(co_await reactor.zero_out(fd_, range.offset, range.length), no_device_zero_out_);
}

aio::Task<IoResult> FileDriver::write_zero_buffers(Range range, bool data_sync) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  std::array<iovec, kZeroVectors> vectors;
  while (!range.empty()) {
    std::uint64_t step = std::min<std::uint64_t>(range.length, kZeroBytes * kZeroVectors);
    std::size_t count = 0;
    for (std::uint64_t rest = step; rest > 0; count++) {
      std::size_t length = std::min<std::uint64_t>(rest, kZeroBytes);
      vectors[count] = iovec{const_cast<std::byte*>(kZeros.data()), length};
      rest -= length;
    }
    const aio::Caching asked = caching();
    auto written = co_await reactor.write(fd_, std::span(vectors).first(count), range.offset, data_sync, asked);
    if (!written && is_dropping_refused(asked, written.error())) continue;
    if (!written) co_return fail(written.error());
    std::uint64_t useful = *written == step ? step : *written & ~std::uint64_t{limits_.request_alignment - 1};
    if (useful == 0) co_return fail(ENOSPC);
    range = Range{range.offset + useful, range.length - useful};
  }
  co_return IoResult();
}

aio::Task<IoResult> FileDriver::discard(Range range) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  ExtentCache::Freeing freeing(extents_, range);
  IoResult result;
  if (!is_device()) {
    result = co_await allocate(reactor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range, no_punch_hole_);
  } else {
    // Only whole blocks: of others the kernel zeroes what its page cache has, and then refuses.
    const Range whole = split(range, device_block_bytes_).whole;
    if (whole.empty() || no_device_discard_.load(std::memory_order_relaxed)) {
      result = fail(ENOTSUP);
    } else {
      result = as_answer(co_await reactor.discard(fd_, whole.offset, whole.length), no_device_discard_);
    }
  }
  if (result) {
    statistics_.discards_succeeded.fetch_add(1, std::memory_order_relaxed);
    statistics_.discarded_bytes.fetch_add(range.length, std::memory_order_relaxed);
    co_return result;
  }
  statistics_.discards_failed.fetch_add(1, std::memory_order_relaxed);
  // A hint that cannot be followed has still been heard.
  if (result.error() == Errno(ENOTSUP)) co_return IoResult();
  co_return result;
}

}  // namespace blockexport::drivers
