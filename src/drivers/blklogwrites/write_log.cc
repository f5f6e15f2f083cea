#include "drivers/blklogwrites/write_log.h"

#include <bit>

#include "aio/task/current.h"
#include "block/buffers.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Range;
using block::RangeLock;

LogEntry WriteLog::entry_of(Range range, std::uint64_t flags) const {
  const int shift = std::countr_zero(super_.sector_bytes);
  return {.sector = range.offset >> shift, .sectors = range.length >> shift, .flags = flags};
}

aio::Task<IoResult> WriteLog::write(Range range, IoBuffers data) {
  return append({.entry = entry_of(range, 0), .data = data});
}

aio::Task<IoResult> WriteLog::write_zeroes(Range range) {
  return append({.entry = entry_of(range, 0), .zero_bytes = range.length});
}

aio::Task<IoResult> WriteLog::discard(Range range) {
  return append({.entry = entry_of(range, kLogDiscard)});
}

aio::Task<IoResult> WriteLog::flush() {
  return append({.entry = {.flags = kLogFlush}});
}

aio::Task<IoResult> WriteLog::append(Addition addition) {
  RangeLock::Hold turn(turns_, co_await aio::current_reactor(), {0, 1}, RangeLock::Kind::kExclusive);
  co_await turn.acquire();
  std::vector<std::byte> head = sector();
  write_log_entry(addition.entry, head);
  std::vector<iovec> vectors = {{head.data(), head.size()}};
  vectors.insert(vectors.end(), addition.data.begin(), addition.data.end());
  const std::uint64_t length = block::length_of(vectors);
  CO_TRY(co_await log_.node().write({end_offset_, length}, vectors, {.may_grow = true}));
  if (addition.zero_bytes != 0) {
    const Range zeros{end_offset_ + length, addition.zero_bytes};
    CO_TRY(co_await log_.node().write_zeroes(zeros, {.may_unmap = true, .may_grow = true}));
  }
  end_offset_ += length + addition.zero_bytes;
  super_.entries++;
  const bool is_flush = (addition.entry.flags & kLogFlush) != 0;
  if (is_flush || super_.entries % super_interval_ == 0) co_return co_await write_super();
  co_return IoResult();
}

aio::Task<IoResult> WriteLog::write_super() {
  std::vector<std::byte> head = sector();
  write_log_super(super_, head);
  iovec vector{head.data(), head.size()};
  CO_TRY(co_await log_.node().write({0, head.size()}, IoBuffers(&vector, 1), {.may_grow = true}));
  co_return co_await log_.node().flush();
}

}  // namespace blockexport::drivers
