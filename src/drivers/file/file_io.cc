// FileDriver's read, write, flush and prefetch.
#include <limits.h>

#include <algorithm>

#include "aio/current.h"
#include "aio/reactor.h"
#include "block/buffers.h"
#include "block/node.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

using block::IoBuffers;
using block::Range;

// What is left of one read or write: as many vectors as one call takes.
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

// A sync that fails, however it says so, may have been told of a loss.
bool is_any(Errno) {
  return true;
}

// Whether a write that syncs itself and fails so may have been told what else could not be written back: a disk has
// many words for that. Not what says that the write was refused before anything was synced. A thin disk that is full
// says ENOSPC as well, and cannot be told from a full file system.
bool may_be_loss(Errno error) {
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
    auto got = co_await reactor.read(fd_, rest.next(), rest.offset(), asked);
    if (!got && is_dropping_refused(asked, got.error())) continue;
    if (!got) co_return fail(got.error());
    // Direct I/O goes on only from a block's border.
    std::uint64_t useful = *got;
    if (rest.done() + useful < range.length) useful &= ~std::uint64_t{limits_.request_alignment - 1};
    if (*got == 0 || (useful != *got && rest.offset() + *got >= file_bytes_.load(std::memory_order_relaxed))) {
      co_return finish_read_at_end(range, buffers, rest.done() + *got);
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
    // What has to be waited for, or fails, is for the read of all that is left.
    if (!try_read(reactor, piece, vectors)) break;
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

IoResult FileDriver::finish_read_at_end(Range range, IoBuffers buffers, std::uint64_t done) const {
  // Ends earlier than it did: somebody has cut the file under us, and zeros would be a lie.
  if (range.offset + done < file_bytes_.load(std::memory_order_relaxed)) return fail(EIO);
  block::fill_zero(buffers, done);
  return {};
}

IoResult FileDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers) {
  if (options_.direct || buffers.size() > IOV_MAX) return fail(EAGAIN);
  IoCount got = lives_in_memory_ ? reactor.try_read_memory(fd_, buffers, range.offset)
                                 : reactor.try_read(fd_, buffers, range.offset, caching());
  // A part is as good as nothing: the verb knows about errors and the end of the file.
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
  // Whoever grows the file by setting its size must not cut off what is written meanwhile.
  block::RangeLock::Hold hold(growth_, co_await aio::current_reactor(), range, block::RangeLock::Kind::kShared);
  co_await hold.acquire();
  IoResult result = co_await write_inside(range, buffers, force_unit_access);
  if (result) raise_size(range.end());
  co_return result;
}

aio::Task<IoResult> FileDriver::write_durably(Range range, IoBuffers buffers) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  // One that is alone is durable with its own call; several share a sync, which costs about as much as one of them.
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
  co_return co_await losses_.run(reactor, LossReport::Promise::kOwnData, std::move(writing), may_be_loss);
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

IoResult FileDriver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::WriteHints& hints) {
  // Writing to a device's page cache may wait for reading the rest of a page; and what is not to stay in the cache is
  // sent to the disk by the write itself, which may wait for a place in the disk's queue.
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
  // What is short, because the disk is full or failing, the verb writes again from the start, and reports.
  if (!written || *written != range.length) return fail(EAGAIN);
  return {};
}

bool FileDriver::write_at_once(aio::Reactor& reactor, Range range, IoBuffers buffers) {
  block::WriteHints hints{.started_ns = reactor.now_ns()};
  return try_write(reactor, range, buffers, hints).has_value();
}

// The reader sees what the file holds when the bytes leave, and even later, because the kernel sends pages and not
// copies of them. This driver may do so: a client that has not got its reply has a read under way, and a write that
// somebody begins meanwhile may come before or after it. If another process cuts the file short, pages on their way may
// arrive as zeros: that much of its promise of EIO the file gives up here. Bytes behind the real end are not in the
// file.
std::expected<block::FileSpan, Errno> FileDriver::try_share(aio::Reactor& reactor, Range range) {
  if (options_.direct || is_device() || !range.fits(file_bytes_.load(std::memory_order_relaxed))) return fail(EAGAIN);
  // Pages that are sent stay, and to send the last that were read ahead makes the kernel read on, for good.
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
  // The kernel tells once, then drops what it could not write; a later success would promise data that are gone.
  if (IoResult known = losses_.known(); !known) co_return known;
  if (options_.direct) co_return co_await reactor.sync(fd_);
  aio::Task<IoResult> syncing = sync_file(reactor);
  co_return co_await losses_.run(reactor, LossReport::Promise::kAllBefore, std::move(syncing), is_any);
}

aio::Task<IoResult> FileDriver::sync_file(aio::Reactor& reactor) {
  co_return co_await reactor.sync(fd_);
}

aio::Task<IoResult> FileDriver::prefetch(Range range) {
  if (options_.direct || caching() == aio::Caching::kDrop) co_return IoResult();
  aio::Reactor& reactor = co_await aio::current_reactor();
  // A hint: what cannot be prefetched will be read.
  (void)co_await reactor.prefetch(fd_, range.offset, range.length);
  co_return IoResult();
}

}  // namespace blockexport::drivers
