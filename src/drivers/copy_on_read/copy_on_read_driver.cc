#include "drivers/copy_on_read/copy_on_read_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/chain.h"

namespace blockexport::drivers {

using block::Extent;
using block::Extents;
using block::IoBuffers;
using block::Node;
using block::Permission;
using block::Permissions;
using block::Range;
using block::RangeLock;

namespace {

// The depth of `bottom` in the chain that begins at `top`, as in extents; 0: it is not there.
std::uint32_t depth_of(Node& top, const Node* bottom) {
  std::uint32_t depth = 1;
  for (Node* node = &top; node != nullptr; node = block::next_in_chain(*node)) {
    if (node == bottom) return depth;
    if (block::filtered_node(*node) == nullptr) ++depth;
  }
  return 0;
}

// Consecutive bytes that are copied, or are not.
struct Run {
  std::uint64_t length;
  bool is_copied;
  bool is_zero;
};

// The run at `extents[next]`, together with those that follow and are copied or left out like it. Extents of the child
// have depth 1; those of which no layer has any bytes have depth 0, and are copied unless there is a bottom.
Run run_at(const Extents& extents, std::size_t& next, std::uint32_t bottom_depth) {
  auto is_copied = [bottom_depth](const Extent& extent) {
    if (extent.depth == 0) return bottom_depth == UINT32_MAX;
    return extent.depth > 1 && extent.depth <= bottom_depth;
  };
  Run run{0, is_copied(extents[next]), true};
  for (; next < extents.size() && is_copied(extents[next]) == run.is_copied; ++next) {
    run.length += extents[next].length;
    run.is_zero = run.is_zero && extents[next].zero;
  }
  return run;
}

}  // namespace

Result<std::unique_ptr<CopyOnReadDriver>> CopyOnReadDriver::open(std::unique_ptr<block::Edge> file,
                                                                 const Node* bottom) {
  if (bottom != nullptr && depth_of(file->node(), bottom) == 0) {
    return fail(
        fmt::format("Bottom node '{}' is not in the backing chain of '{}'", bottom->name(), file->node().name()));
  }
  return std::unique_ptr<CopyOnReadDriver>(new CopyOnReadDriver(std::move(file), bottom));
}

std::uint32_t CopyOnReadDriver::bottom_depth() const {
  return bottom_ == nullptr ? UINT32_MAX : depth_of(file(), bottom_);
}

Range CopyOnReadDriver::clusters_around(Range range) const {
  // A format allocates whole clusters, which are also its units of a discard.
  const std::uint64_t cluster_bytes = std::max<std::uint64_t>(file().limits().discard_alignment, 1);
  const std::uint64_t begin = range.offset / cluster_bytes * cluster_bytes;
  const std::uint64_t end = (range.end() + cluster_bytes - 1) / cluster_bytes * cluster_bytes;
  return {begin, std::min(end, file().size_bytes()) - begin};
}

bool CopyOnReadDriver::is_in_child(aio::Reactor& reactor, Range range) const {
  Extents extents;
  if (!file().try_extents(reactor, range, extents)) return false;
  std::uint64_t found_bytes = 0;
  for (const Extent& extent : extents) {
    if (extent.depth != 1) return false;
    found_bytes += extent.length;
  }
  return found_bytes >= range.length;
}

CopyOnReadDriver::Copying::Copying(CopyOnReadDriver& driver, Range clusters) : driver_(driver), clusters_(clusters) {
  std::lock_guard guard(driver_.inline_writes_);
  driver_.being_copied_.push_back(*this);
}

CopyOnReadDriver::Copying::~Copying() {
  std::lock_guard guard(driver_.inline_writes_);
  unlink();
}

bool CopyOnReadDriver::is_being_copied(Range range) {
  for (const Copying& one : being_copied_) {
    if (one.clusters().offset < range.end() && range.offset < one.clusters().end()) return true;
  }
  return false;
}

aio::Task<IoResult> CopyOnReadDriver::fill(Range range) {
  for (std::uint64_t done = 0; done < range.length;) {
    Extents extents;
    const Range rest{range.offset + done, range.length - done};
    CO_TRY(co_await file().extents(rest, extents));
    for (std::size_t next = 0; next < extents.size() && done < range.length;) {
      Run run = run_at(extents, next, bottom_depth());
      run.length = std::min(run.length, range.length - done);
      Range left = clusters_around({range.offset + done, run.length});
      while (run.is_copied && !left.empty()) {
        const std::uint64_t piece_bytes = std::min(left.length, clusters_around({left.offset, kCopyBytesMax}).length);
        CO_TRY(co_await copy_clusters({left.offset, piece_bytes}));
        left = {left.offset + piece_bytes, left.length - piece_bytes};
      }
      done += run.length;
    }
  }
  co_return IoResult();
}

aio::Task<IoResult> CopyOnReadDriver::copy_clusters(Range clusters) {
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), clusters, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  const Copying copying(*this, clusters);
  for (std::uint64_t done = 0; done < clusters.length;) {
    // Others may have copied or written them meanwhile.
    Extents extents;
    const Range rest{clusters.offset + done, clusters.length - done};
    CO_TRY(co_await file().extents(rest, extents));
    for (std::size_t next = 0; next < extents.size() && done < clusters.length;) {
      Run run = run_at(extents, next, bottom_depth());
      run.length = std::min(run.length, clusters.length - done);
      const Range part{clusters.offset + done, run.length};
      if (run.is_copied && run.is_zero) {
        CO_TRY(co_await file().write_zeroes(part, {}));
      } else if (run.is_copied) {
        CO_TRY(co_await copy_bytes(part));
      }
      done += run.length;
    }
  }
  co_return IoResult();
}

aio::Task<IoResult> CopyOnReadDriver::copy_bytes(Range range) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  const Range slot{next_slot_.fetch_add(1, std::memory_order_relaxed) % kCopiesMax, 1};
  RangeLock::Hold hold(slots_, reactor, slot, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  block::AlignedMemory memory(range.length, std::max(4096u, file().limits().memory_alignment));
  if (!memory) co_return fail(ENOMEM);
  const iovec vector{memory.bytes().data(), range.length};
  const IoBuffers buffers(&vector, 1);
  CO_TRY(co_await file().read(range, buffers));
  if (block::is_zero(buffers)) co_return co_await file().write_zeroes(range, {});
  co_return co_await file().write(range, buffers, {});
}

aio::Task<IoResult> CopyOnReadDriver::read(Range range, IoBuffers buffers) {
  // ENOTSUP would say something about the request.
  CO_TRY(block::after_a_change(co_await fill(range)));
  co_return co_await file().read(range, buffers);
}

aio::Task<IoResult> CopyOnReadDriver::prefetch(Range range) {
  CO_TRY(block::after_a_change(co_await fill(range)));
  co_return co_await file().prefetch(range);
}

aio::Task<IoResult> CopyOnReadDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kShared);
  co_await hold.acquire();
  co_return co_await file().write(range, buffers, options);
}

aio::Task<IoResult> CopyOnReadDriver::write_zeroes(Range range, block::ZeroOptions options) {
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kShared);
  co_await hold.acquire();
  co_return co_await file().write_zeroes(range, options);
}

aio::Task<IoResult> CopyOnReadDriver::discard(Range range) {
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kShared);
  co_await hold.acquire();
  co_return co_await file().discard(range);
}

IoResult CopyOnReadDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  if (!is_in_child(reactor, range)) return fail(EAGAIN);
  return file().try_read(reactor, range, buffers, hints);
}

IoResult CopyOnReadDriver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  // A copy that begins meanwhile waits for the end of this write, in which nothing waits.
  std::shared_lock guard(inline_writes_);
  if (is_being_copied(range)) return fail(EAGAIN);
  return file().try_write(reactor, range, buffers, hints);
}

std::expected<block::FileSpan, Errno> CopyOnReadDriver::try_share(aio::Reactor& reactor, Range range) {
  if (!is_in_child(reactor, range)) return fail(EAGAIN);
  return file().try_share(reactor, range);
}

Permissions CopyOnReadDriver::child_permissions(const block::Edge&, const Permissions& own, bool) const {
  Permissions needed = own;
  needed.used = needed.used | Permission::kWriteUnchanged;
  // A copy could overwrite what somebody else has just written to the child.
  needed.shared = (needed.shared | Permission::kWriteUnchanged) - Permission::kWrite;
  return needed;
}

}  // namespace blockexport::drivers
