// FileDriver's read, write, flush and prefetch.
#include <limits.h>

#include <algorithm>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/node.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

using block::IoBuffers;
using block::Range;

// The part of a read or write that is not done yet, cut to the number of vectors of one call.
class Remainder {
 public:
  Remainder(Range range, IoBuffers buffers, std::uint64_t done = 0) : range_(range), buffers_(buffers), next_(buffers) {
    done > 0 ? advance(done) : cap();
  }

  std::uint64_t done() const { return done_; }
  bool finished() const { return done_ == range_.length; }
  std::uint64_t offset() const { return range_.offset + done_; }
  IoBuffers next() const { return next_; }

  void advance(std::uint64_t bytes) {
    done_ += bytes;
    if (finished()) return;
    storage_ = block::slice(buffers_, done_, range_.length - done_);
    next_ = storage_;
    cap();
  }

 private:
  void cap() { next_ = next_.first(std::min<std::size_t>(next_.size(), IOV_MAX)); }

  Range range_;
  IoBuffers buffers_;
  IoBuffers next_;
  std::vector<iovec> storage_;
  std::uint64_t done_ = 0;
};

// Any error of a sync may be a writeback error.
bool is_any_error(Errno) {
  return true;
}

// True if this error of a write that syncs itself may be a writeback error of other data: disks use many error numbers
// for one. Excludes the errors by which the kernel refuses a write before it syncs anything. A full thin disk also
// reports ENOSPC, which cannot be distinguished from a full file system.
bool may_be_writeback_error(Errno error) {
  switch (error.value()) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EINVAL:
    case EPERM:
    case EBADF:
    case EOPNOTSUPP:
    case ENOMEM:
    case EAGAIN:
      return false;
    default:
      return true;
  }
}

}  // namespace

aio::Task<IoResult> FileDriver::read(Range range, IoBuffers buffers) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  std::uint64_t done = 0;
  if (range.length > block::Node::kReadAtOnceBytesMax && !options_.direct) {
    done = co_await read_cached_pieces(reactor, range, buffers);
  }
  Remainder rest(range, buffers, done);
  while (!rest.finished()) {
    const aio::Caching asked = caching();
    // The end of the file as of now: the file may grow while the kernel reads.
    const std::uint64_t file_bytes = file_bytes_.load(std::memory_order_relaxed);
    auto got = co_await reactor.read(fd_, rest.next(), rest.offset(), asked);
    if (!got && is_dropping_refused(asked, got.error())) continue;
    if (!got) co_return fail(got.error());
    // Direct I/O can continue only at a block boundary.
    std::uint64_t useful = *got;
    if (rest.done() + useful < range.length) useful &= ~std::uint64_t{limits_.request_alignment - 1};
    if (*got == 0 || (useful != *got && rest.offset() + *got >= file_bytes)) {
      co_return finish_read_at_end(range, buffers, rest.done() + *got, file_bytes);
    }
    if (useful == 0) co_return fail(EIO);
    rest.advance(useful);
  }
  co_return IoResult();
}

aio::Task<std::uint64_t> FileDriver::read_cached_pieces(aio::Reactor& reactor, Range range, IoBuffers buffers) {
  std::uint64_t done = 0;
  while (done < range.length) {
    const Range piece{range.offset + done, std::min(block::Node::kReadPieceBytes, range.length - done)};
    const std::vector<iovec> vectors = block::slice(buffers, done, piece.length);
    // The caller's blocking read takes over at the first piece that would wait or that fails.
    if (!read_cached(reactor, piece, vectors)) break;
    done += piece.length;
    if (done < range.length) co_await aio::next_turn();
  }
  co_return done;
}

bool FileDriver::is_dropping_refused(aio::Caching asked, Errno error) {
  if (asked != aio::Caching::kDrop || error != Errno(EOPNOTSUPP)) return false;
  no_drop_cached_.store(true, std::memory_order_relaxed);
  return true;
}

IoResult FileDriver::finish_read_at_end(Range range, IoBuffers buffers, std::uint64_t done, std::uint64_t file_bytes) {
  // The file is shorter than it was: another process has truncated it, and zeros would be wrong data.
  if (range.offset + done < file_bytes) return fail(EIO);
  block::fill_zero(buffers, done);
  return {};
}

IoResult FileDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints&) {
  return read_cached(reactor, range, buffers);
}

IoResult FileDriver::read_cached(aio::Reactor& reactor, Range range, IoBuffers buffers) {
  if (options_.direct || buffers.size() > IOV_MAX) return fail(EAGAIN);
  IoCount got = lives_in_memory_ ? reactor.try_read_memory(fd_, buffers, range.offset)
                                 : reactor.try_read(fd_, buffers, range.offset, caching());
  // A partial read does not count: the blocking verb handles errors and the end of the file.
  if (!got || *got != range.length) return fail(EAGAIN);
  return {};
}

aio::Task<IoResult> FileDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  if (options.may_grow && is_past_end(range)) return write_past_end(range, buffers, options.force_unit_access);
  return write_inside(range, buffers, options.force_unit_access);
}

aio::Task<IoResult> FileDriver::write_inside(Range range, IoBuffers buffers, bool force_unit_access) {
  if (force_unit_access && !options_.no_flush) return write_durably(range, buffers);
  return write_buffers(range, buffers, false);
}

aio::Task<IoResult> FileDriver::write_past_end(Range range, IoBuffers buffers, bool force_unit_access) {
  // grow() sets the size of the file and must not cut off a write that extends it meanwhile.
  block::RangeLock::Hold hold(growth_, co_await aio::current_reactor(), range, block::RangeLock::Kind::kShared);
  co_await hold.acquire();
  // io_uring passes a write that makes a file larger to a thread of its own, which takes longer than a short copy into
  // the page cache.
  const bool is_short = !force_unit_access && range.length <= kInlineGrowthBytesMax;
  IoResult result;
  if (!is_short || !write_at_once(co_await aio::current_reactor(), range, buffers)) {
    result = co_await write_inside(range, buffers, force_unit_access);
  }
  if (result) raise_size(range.end());
  co_return result;
}

aio::Task<IoResult> FileDriver::write_durably(Range range, IoBuffers buffers) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  // A single durable write syncs with its own call; several share one sync, which costs about as much as one such
  // write.
  if (is_syncing() && !buffers.empty() && write_at_once(reactor, range, buffers)) co_return co_await sync(reactor);
  const bool first = durable_writes_.fetch_add(1, std::memory_order_relaxed) == 0;
  const bool alone = first && !syncs_.is_running() && !(options_.direct && drops_direct_syncs_);
  IoResult result = co_await (alone ? write_alone(reactor, range, buffers) : write_content(range, buffers, false));
  if (result && !alone) result = co_await sync(reactor);
  durable_writes_.fetch_sub(1, std::memory_order_relaxed);
  co_return result;
}

aio::Task<IoResult> FileDriver::write_alone(aio::Reactor& reactor, Range range, IoBuffers buffers) {
  if (options_.direct) co_return co_await write_content(range, buffers, true);
  aio::Task<IoResult> writing = write_content(range, buffers, true);
  co_return co_await writeback_errors_.run(reactor, WritebackErrors::Promise::kOwnData, std::move(writing),
                                           may_be_writeback_error);
}

aio::Task<IoResult> FileDriver::write_content(Range range, IoBuffers buffers, bool data_sync) {
  return buffers.empty() ? write_zero_buffers(range, data_sync) : write_buffers(range, buffers, data_sync);
}

aio::Task<IoResult> FileDriver::write_buffers(Range range, IoBuffers buffers, bool data_sync) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  Remainder rest(range, buffers);
  while (!rest.finished()) {
    const aio::Caching asked = caching();
    auto written = co_await reactor.write(fd_, rest.next(), rest.offset(), data_sync, asked);
    if (!written && is_dropping_refused(asked, written.error())) continue;
    if (!written) co_return fail(written.error());
    std::uint64_t useful = *written;
    if (rest.done() + useful < range.length) useful &= ~std::uint64_t{limits_.request_alignment - 1};
    if (useful == 0) co_return fail(ENOSPC);
    rest.advance(useful);
  }
  co_return IoResult();
}

IoResult FileDriver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  // A write to a device's page cache may wait until the rest of a page is read. A write with kDrop sends its pages to
  // the disk itself, and may wait for a slot in the disk's queue.
  if (options_.direct || is_device() || buffers.size() > IOV_MAX || caching() == aio::Caching::kDrop ||
      !write_backoff_.admits(hints.started_ns)) {
    return fail(EAGAIN);
  }
  const bool watched = write_backoff_.watches(hints.started_ns);
  const std::uint64_t waits_before = watched ? reactor.times_waited() : 0;
  IoCount written = reactor.try_write(fd_, buffers, range.offset);
  hints.ended_ns = reactor.now_ns();
  if (const std::uint64_t elapsed_ns = hints.ended_ns - hints.started_ns; WriteBackoff::is_long(elapsed_ns)) {
    const bool waited = watched && reactor.has_waited_since(waits_before);
    write_backoff_.took_long(hints.ended_ns, elapsed_ns, waited);
  }
  // A short write means that the disk is full or failing: the blocking verb writes everything again and reports the
  // error.
  if (!written || *written != range.length) return fail(EAGAIN);
  return {};
}

bool FileDriver::write_at_once(aio::Reactor& reactor, Range range, IoBuffers buffers) {
  block::InlineHints hints{.started_ns = reactor.now_ns()};
  return try_write(reactor, range, buffers, hints).has_value();
}

// The reader receives the content that the file has when the bytes leave the host, or even later, because the kernel
// sends pages and not copies of them. This driver may do so: a client without its reply has a read under way, and a
// concurrent write may come before or after that read. If another process truncates the file, pages that are being sent
// may arrive as zeros: here the driver cannot keep its promise of EIO. Bytes behind the real end are not in the file,
// so they cannot be shared.
std::expected<block::FileSpan, Errno> FileDriver::try_share(aio::Reactor& reactor, Range range) {
  if (options_.direct || is_device() || !range.fits(file_bytes_.load(std::memory_order_relaxed))) return fail(EAGAIN);
  // sendfile(2) keeps the pages that it sends in the cache, and when it sends the last page of a read-ahead, the kernel
  // reads further ahead.
  if (caching() == aio::Caching::kDrop) return fail(EAGAIN);
  if (!reactor.is_cached(fd_, range.offset, range.length)) return fail(EAGAIN);
  return block::FileSpan{.file = file_, .offset = range.offset};
}

aio::Task<IoResult> FileDriver::flush() {
  co_return co_await sync(co_await aio::current_reactor());
}

aio::Task<IoResult> FileDriver::sync(aio::Reactor& reactor) {
  if (options_.no_flush) co_return IoResult();
  aio::Task<IoResult> alone = sync_alone(reactor);
  co_return co_await syncs_.share(reactor, std::move(alone));
}

aio::Task<IoResult> FileDriver::sync_alone(aio::Reactor& reactor) {
  if (options_.direct) co_return co_await reactor.sync(fd_);
  aio::Task<IoResult> syncing = sync_file(reactor);
  co_return co_await writeback_errors_.run(reactor, WritebackErrors::Promise::kAllBefore, std::move(syncing),
                                           is_any_error);
}

aio::Task<IoResult> FileDriver::sync_file(aio::Reactor& reactor) {
  co_return co_await reactor.sync(fd_);
}

aio::Task<IoResult> FileDriver::prefetch(Range range) {
  if (options_.direct || caching() == aio::Caching::kDrop) co_return IoResult();
  aio::Reactor& reactor = co_await aio::current_reactor();
  // Prefetch is a hint, so errors are ignored: the read will report them.
  (void)co_await reactor.prefetch(fd_, range.offset, range.length);
  co_return IoResult();
}

}  // namespace blockexport::drivers
