#include "drivers/blklogwrites/blklogwrites_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "aio/task/current.h"
#include "block/buffers.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Permission;
using block::Permissions;
using block::Range;
using block::RangeLock;

namespace {

// Range of one read of a log that is continued: it has many small entries.
constexpr std::uint64_t kScanBytes = 64u << 10;

// The super block of a log that is continued; that of a new log if it is empty.
aio::Task<Result<LogSuper>> read_super(block::Node& log) {
  if (log.size_bytes() == 0) co_return LogSuper();
  // A shorter log reads as one with zeros behind it.
  std::array<std::byte, kLogSuperBytes> bytes{};
  iovec vector{bytes.data(), static_cast<std::size_t>(std::min<std::uint64_t>(log.size_bytes(), bytes.size()))};
  if (IoResult result = co_await log.read({0, vector.iov_len}, IoBuffers(&vector, 1)); !result) {
    co_return fail(Error::system("Could not read log superblock", result.error()));
  }
  co_return parse_log_super(bytes);
}

// Offset of the end of the entries.
aio::Task<Result<std::uint64_t>> find_end(block::Node& log, const LogSuper& super) {
  CO_TRY_ASSIGN(LogScan scan, LogScan::create(super, log.size_bytes()));
  std::vector<std::byte> bytes;
  Range read;
  while (!scan.is_done()) {
    const std::uint64_t at = scan.offset();
    if (at < read.offset || read.end() < at + kLogEntryBytes) {
      read = {at, std::min(kScanBytes, log.size_bytes() - at)};
      bytes.resize(read.length);
      iovec vector{bytes.data(), bytes.size()};
      if (IoResult result = co_await log.read(read, IoBuffers(&vector, 1)); !result) {
        co_return fail(Error::system(fmt::format("Failed to read log entry {}", scan.index()), result.error()));
      }
    }
    CO_TRY(scan.take(std::span(bytes).subspan(at - read.offset, kLogEntryBytes)));
  }
  co_return scan.offset();
}

}  // namespace

aio::Task<Result<std::unique_ptr<BlklogwritesDriver>>> BlklogwritesDriver::open(BlklogwritesOptions options,
                                                                                std::unique_ptr<block::Edge> file,
                                                                                std::unique_ptr<block::Edge> log) {
  LogSuper super{.sector_bytes = options.sector_bytes};
  std::uint64_t end_offset = options.sector_bytes;
  if (options.append) {
    CO_TRY_ASSIGN(super, co_await read_super(log->node()));
    CO_TRY_ASSIGN(end_offset, co_await find_end(log->node(), super));
  }
  CO_TRY(check_log_sector(super.sector_bytes));
  if (options.super_interval == 0) {
    co_return fail(fmt::format("Invalid log superblock update interval {}", options.super_interval));
  }
  co_return std::unique_ptr<BlklogwritesDriver>(
      new BlklogwritesDriver(std::move(file), std::move(log), super, end_offset, options.super_interval));
}

BlklogwritesDriver::BlklogwritesDriver(std::unique_ptr<block::Edge> file, std::unique_ptr<block::Edge> log,
                                       const LogSuper& super, std::uint64_t end_offset, std::uint64_t super_interval)
    : file_(std::move(file)), log_edge_(std::move(log)), log_(*log_edge_, super, end_offset, super_interval) {}

Range BlklogwritesDriver::in_file(Range range) const {
  const std::uint64_t size_bytes = file().size_bytes();
  if (range.end() <= size_bytes) return range;
  return {range.offset, size_bytes > range.offset ? size_bytes - range.offset : 0};
}

aio::Task<IoResult> BlklogwritesDriver::read(Range range, IoBuffers buffers) {
  const Range inside = in_file(range);
  if (inside.length == range.length) co_return co_await file().read(range, buffers);
  block::fill_zero(buffers, inside.length);
  if (inside.empty()) co_return IoResult();
  const std::vector<iovec> part = block::slice(buffers, 0, inside.length);
  co_return co_await file().read(inside, part);
}

aio::Task<IoResult> BlklogwritesDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  {
    RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kExclusive);
    co_await hold.acquire();
    const Range inside = options.may_grow ? range : in_file(range);
    const std::vector<iovec> part = block::slice(buffers, 0, inside.length);
    const block::WriteOptions plain{.may_grow = options.may_grow, .compressed = options.compressed};
    if (!inside.empty()) CO_TRY(co_await file().write(inside, part, plain));
    CO_TRY(co_await log_.write(range, buffers));
  }
  if (options.force_unit_access) co_return co_await flush();
  co_return IoResult();
}

aio::Task<IoResult> BlklogwritesDriver::write_zeroes(Range range, block::ZeroOptions options) {
  // The log has to have the zeros too.
  if (options.no_fallback) co_return fail(ENOTSUP);
  {
    RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kExclusive);
    co_await hold.acquire();
    const Range inside = options.may_grow ? range : in_file(range);
    block::ZeroOptions plain = options;
    plain.force_unit_access = false;
    if (!inside.empty()) CO_TRY(block::after_a_change(co_await file().write_zeroes(inside, plain)));
    CO_TRY(block::after_a_change(co_await log_.write_zeroes(range)));
  }
  if (options.force_unit_access) co_return block::after_a_change(co_await flush());
  co_return IoResult();
}

aio::Task<IoResult> BlklogwritesDriver::discard(Range range) {
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  if (const Range inside = in_file(range); !inside.empty()) CO_TRY(co_await file().discard(inside));
  co_return co_await log_.discard(range);
}

aio::Task<IoResult> BlklogwritesDriver::flush() {
  CO_TRY(co_await file().flush());
  co_return co_await log_.flush();
}

aio::Task<IoResult> BlklogwritesDriver::extents(Range range, block::Extents& extents) {
  return file().extents(range, extents);
}

aio::Task<std::expected<block::DataPlace, Errno>> BlklogwritesDriver::locate(Range range) {
  co_return block::DataPlace{
      .kind = block::DataPlaceKind::kPassed, .length = range.length, .node = &file(), .offset = range.offset};
}

aio::Task<IoResult> BlklogwritesDriver::prefetch(Range range) {
  return file().prefetch(range);
}

IoResult BlklogwritesDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers,
                                      block::InlineHints& hints) {
  if (in_file(range).length != range.length) return fail(EAGAIN);
  return file().try_read(reactor, range, buffers, hints);
}

IoResult BlklogwritesDriver::try_extents(aio::Reactor& reactor, Range range, block::Extents& extents) {
  return file().try_extents(reactor, range, extents);
}

std::expected<block::FileSpan, Errno> BlklogwritesDriver::try_share(aio::Reactor& reactor, Range range) {
  return file().try_share(reactor, range);
}

aio::Task<IoResult> BlklogwritesDriver::read_shared(Range range, IoBuffers buffers) {
  return file().read_shared(range, buffers);
}

block::Limits BlklogwritesDriver::limits() const {
  const std::uint32_t sector_bytes = log_.sector_bytes();
  return {.request_alignment = sector_bytes, .optimal_bytes = std::max(file().limits().optimal_bytes, sector_bytes)};
}

Permissions BlklogwritesDriver::child_permissions(const block::Edge& child, const Permissions& own,
                                                  bool read_only) const {
  if (&child == file_.get()) return own;
  Permissions needed{.used = Permission::kConsistentRead,
                     .shared = Permission::kConsistentRead | Permission::kWriteUnchanged};
  if (!read_only) needed.used = needed.used | Permission::kWrite | Permission::kResize;
  return needed;
}

}  // namespace blockexport::drivers
