// FileDriver's write_zeroes and discard: holes or zeroed ranges where the file system or device supports them, else
// written zeros.
#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <array>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

using block::Range;

// One write of zeros: kZeroVectors vectors of the same kZeroBytes.
constexpr std::size_t kZeroBytes = 64u << 10;
constexpr std::size_t kZeroVectors = 16;
alignas(4096) constexpr std::array<std::byte, kZeroBytes> kZeros{};

// True if the error means that the call is not supported at all. EINVAL is not such an error: it refuses only this
// range, which is not made of whole blocks.
bool is_refusal(Errno error) {
  return error == Errno(EOPNOTSUPP) || error == Errno(ENOSYS) || error == Errno(ENOTTY);
}

// A range in a device, divided at its block boundaries.
struct Blocks {
  Range head;  // before the first whole block; everything when there is none
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

// Maps every kind of refusal to ENOTSUP; `refused` remembers that the call is not supported.
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
  // New bytes at the end read as zeros already, but have no space allocated.
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

// ENOTSUP: the file has not changed.
aio::Task<IoResult> FileDriver::zero_by_file_system(aio::Reactor& reactor, Range range, bool may_unmap) {
  constexpr int kPunchHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  constexpr int kZeroRange = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  if (may_unmap) {
    IoResult result = co_await allocate(reactor, kPunchHole, range, no_punch_hole_);
    if (result || result.error() != Errno(ENOTSUP)) co_return result;
  }
  IoResult result = co_await allocate(reactor, kZeroRange, range, no_zero_range_);
  if (result || result.error() != Errno(ENOTSUP)) co_return result;
  // Punches a hole and allocates its space again: the range reads as zeros and keeps its space. The first call
  // allocates before the hole is punched, to learn whether allocation is supported: that changes nothing where space is
  // allocated already.
  if (!allocates_.load(std::memory_order_relaxed)) {
    CO_TRY(co_await allocate(reactor, FALLOC_FL_KEEP_SIZE, range, no_allocate_));
    allocates_.store(true, std::memory_order_relaxed);
  }
  CO_TRY(co_await allocate(reactor, kPunchHole, range, no_punch_hole_));
  result = co_await allocate(reactor, FALLOC_FL_KEEP_SIZE, range, no_allocate_);
  if (result || result.error() != Errno(ENOTSUP)) co_return result;
  co_return co_await write_zero_buffers(range, false);
}

// The device zeroes the whole blocks; the parts of blocks at either end are written as data. ENOTSUP: the device has
// not changed.
aio::Task<IoResult> FileDriver::zero_in_device(aio::Reactor& reactor, Range range, bool may_unmap) {
  const Blocks blocks = split(range, device_block_bytes_);
  const bool can_punch = may_unmap && !no_punch_hole_.load(std::memory_order_relaxed);
  if (blocks.whole.empty() || !(can_punch || !no_device_zero_out_.load(std::memory_order_relaxed))) {
    co_return fail(ENOTSUP);
  }
  IoResult result = co_await zero_blocks(reactor, blocks.whole, may_unmap);
  // The kernel has dropped its page cache of the range before it asked the device, so from here on ENOTSUP ("nothing
  // has changed") is no longer a valid result.
  if (!result && result.error() == Errno(ENOTSUP)) result = co_await write_zero_buffers(blocks.whole, false);
  if (result) result = co_await write_zero_buffers(blocks.head, false);
  if (result) result = co_await write_zero_buffers(blocks.tail, false);
  co_return block::after_a_change(result);
}

aio::Task<IoResult> FileDriver::zero_blocks(aio::Reactor& reactor, Range range, bool may_unmap) {
  // The device chooses between unmapping and writing. A hole punched in a device reads as zeros, or the call fails.
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
    // Only whole blocks: for a part of a block the kernel first zeroes its page cache and then refuses the call.
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
  // Discard is a hint: a file or device that does not support it has not failed.
  if (result.error() == Errno(ENOTSUP)) co_return IoResult();
  co_return result;
}

}  // namespace blockexport::drivers
