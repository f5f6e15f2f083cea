#include "block/node.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/current.h"
#include "aio/reactor.h"
#include "block/buffers.h"

namespace blockexport::block {
namespace {

// Counts one request in `statistics` when finish() is told how it ended.
class Measurement {
 public:
  Measurement(aio::Reactor& reactor, VerbStatistics& statistics, std::uint64_t bytes)
      : reactor_(reactor), statistics_(statistics), bytes_(bytes), started_ns_(reactor.now_ns()) {}
  IoResult finish(IoResult result) {
    statistics_.count(bytes_, result, reactor_.now_ns() - started_ns_);
    return result;
  }

 private:
  aio::Reactor& reactor_;
  VerbStatistics& statistics_;
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

IoResult Node::check_write(Range range) const {
  if (read_only()) return fail(EPERM);
  if (!range.fits(size_bytes())) return fail(ENOSPC);
  return {};
}

aio::Task<Result<>> Node::resize(std::uint64_t size_bytes) {
  if (read_only()) co_return fail("Image is read-only");
  if (size_bytes > kNodeBytesMax) {
    co_return fail(fmt::format("offset({}) exceeds maximum({})", size_bytes, kNodeBytesMax));
  }
  CO_TRY(co_await driver_->resize(size_bytes));
  refresh_limits();
  // The new size is to be durable with the next flush.
  write_generation_.fetch_add(1, std::memory_order_release);
  co_return Result<>();
}

void Node::wrote(Range range, const IoResult& result) {
  // A failed write may have changed something too, and so needs the next flush.
  write_generation_.fetch_add(1, std::memory_order_release);
  if (result) statistics_.raise_highest_written_offset(range.end());
}

aio::Task<IoResult> Node::read(Range range, IoBuffers buffers) {
  Measurement measurement(co_await aio::current_reactor(), statistics_.read, range.length);
  IoResult result = check_read(range);
  if (result && !range.empty()) {
    if (range.length > kReadAtOnceBytesMax) {
      result = co_await read_long(range, buffers);
    } else {
      result = co_await read_any(range, buffers);
    }
  }
  co_return measurement.finish(result);
}

aio::Task<IoResult> Node::write(Range range, IoBuffers buffers, WriteOptions options) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  Measurement measurement(reactor, statistics_.write, range.length);
  IoResult result = check_write(range);
  if (result && !range.empty()) {
    if (options_.detect_zeroes != DetectZeroes::kOff && is_zero(buffers)) {
      ZeroOptions zero{.force_unit_access = options.force_unit_access,
                       .may_unmap = options_.detect_zeroes == DetectZeroes::kUnmap};
      result = co_await write_zeroes_any(range, zero);
    } else if (limits_.request_alignment == 1 && is_direct(range, buffers)) {
      if (options.force_unit_access && driver_->is_syncing() && write_at_once(reactor, range, buffers, 1)) {
        result = co_await driver_.flush();
      } else {
        result = co_await driver_.write(range, buffers, options);
      }
    } else {
      result = co_await write_any(range, buffers, options);
    }
    wrote(range, result);
  }
  co_return measurement.finish(result);
}

aio::Task<IoResult> Node::write_zeroes(Range range, ZeroOptions options) {
  Measurement measurement(co_await aio::current_reactor(), statistics_.write_zeroes, range.length);
  IoResult result = check_write(range);
  if (result && !range.empty()) {
    if (options_.discard == DiscardMode::kIgnore) options.may_unmap = false;
    result = co_await write_zeroes_any(range, options);
    wrote(range, result);
  }
  co_return measurement.finish(result);
}

aio::Task<IoResult> Node::discard(Range range) {
  Measurement measurement(co_await aio::current_reactor(), statistics_.discard, range.length);
  IoResult result;
  if (read_only()) {
    result = fail(EPERM);
  } else {
    result = check_read(range);
  }
  if (result && options_.discard == DiscardMode::kUnmap) {
    // Only whole blocks; being a hint, it may leave the rest alone. The last block may end with the node.
    std::uint64_t mask = limits_.request_alignment - 1;
    std::uint64_t start = (range.offset + mask) & ~mask;
    std::uint64_t end = range.end() == size_bytes() ? (range.end() + mask) & ~mask : range.end() & ~mask;
    if (start < end) {
      result = co_await driver_.discard(Range{start, end - start});
      write_generation_.fetch_add(1, std::memory_order_release);
    }
  }
  co_return measurement.finish(result);
}

aio::Task<IoResult> Node::flush() {
  Measurement measurement(co_await aio::current_reactor(), statistics_.flush, 0);
  co_return measurement.finish(co_await flush_written());
}

aio::Task<IoResult> Node::flush_written() {
  std::uint64_t generation = write_generation_.load(std::memory_order_acquire);
  // Nothing ended since the last flush that succeeded; a read-only node never gets here with anything.
  if (flushed_generation_.load(std::memory_order_acquire) == generation) co_return IoResult();
  IoResult result = co_await driver_.flush();
  if (!result) co_return result;
  std::uint64_t seen = flushed_generation_.load(std::memory_order_relaxed);
  while (seen < generation && !flushed_generation_.compare_exchange_weak(seen, generation, std::memory_order_release)) {
  }
  co_return IoResult();
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
  // What is wrong, or needs work, is for the verb.
  if (range.empty() || !range.fits(size_bytes()) || !is_direct(range, buffers)) return fail(EAGAIN);
  Measurement measurement(reactor, statistics_.read, range.length);
  IoResult result = driver_.try_read(reactor, range, buffers);
  if (!result && result.error() == Errno(EAGAIN)) return result;
  return measurement.finish(result);
}

std::expected<FileSpan, Errno> Node::try_share(aio::Reactor& reactor, Range range) {
  if (range.empty() || !range.fits(size_bytes())) return fail(EAGAIN);
  Measurement measurement(reactor, statistics_.read, range.length);
  std::expected<FileSpan, Errno> span = driver_.try_share(reactor, range);
  if (span) (void)measurement.finish({});
  return span;
}

IoResult Node::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, std::uint32_t requests) {
  // With blocks to keep apart a write takes its turn in the range lock.
  if (range.empty() || read_only() || options_.detect_zeroes != DetectZeroes::kOff || !range.fits(size_bytes()) ||
      limits_.request_alignment != 1 || !is_direct(range, buffers)) {
    return fail(EAGAIN);
  }
  std::expected<std::uint64_t, Errno> elapsed_ns = write_at_once(reactor, range, buffers, requests);
  if (!elapsed_ns) return fail(elapsed_ns.error());
  wrote(range, {});
  statistics_.write.count(range.length, {}, *elapsed_ns, requests);
  return {};
}

std::expected<std::uint64_t, Errno> Node::write_at_once(aio::Reactor& reactor, Range range, IoBuffers buffers,
                                                        std::uint32_t requests) {
  const std::uint64_t started_ns = reactor.now_ns();
  if (!write_guard_.admits(started_ns)) return fail(EAGAIN);
  const bool watched = write_guard_.watches(started_ns);
  const std::uint64_t waits_before = watched ? reactor.times_waited() : 0;
  IoResult result = driver_.try_write(reactor, range, buffers, requests);
  const std::uint64_t elapsed_ns = reactor.now_ns() - started_ns;
  if (WriteGuard::is_long(elapsed_ns)) {
    write_guard_.took_long(started_ns + elapsed_ns, elapsed_ns, watched && reactor.has_waited_since(waits_before));
  }
  if (!result) return fail(result.error());
  return elapsed_ns;
}

IoResult Node::try_extents(aio::Reactor& reactor, Range range, Extents& extents) {
  if (range.empty() || !range.fits(size_bytes())) return fail(EAGAIN);
  return driver_.try_extents(reactor, range, extents);
}

}  // namespace blockexport::block
