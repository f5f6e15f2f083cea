#include "drivers/copy_before_write/frozen_state.h"

#include <algorithm>

#include "aio/task/current.h"
#include "block/buffers.h"

namespace blockexport::drivers {

using block::Extents;
using block::IoBuffers;
using block::Range;
using block::RangeLock;

aio::Task<IoResult> FrozenState::before_change(Range range, const CopyBeforeWriteOptions& options) {
  IoResult copied;
  if (options.timeout_ns == 0) {
    copied = co_await copy(range);
  } else {
    copied = co_await copy_in_time(range, options.timeout_ns);
  }
  if (copied || copied.error() == Errno(ECANCELED)) co_return copied;
  if (options.on_error == OnCopyError::kGiveUpPointInTime) {
    if (clusters_->give_up(copied.error()) && observer_ != nullptr) {
      observer_->point_in_time_given_up(source_.parent().node->name(), copied.error());
    }
    co_return IoResult();
  }
  // ENOTSUP would say something about the request.
  co_return block::after_a_change(copied);
}

aio::Task<IoResult> FrozenState::copy(Range range) {
  const Range clusters = clusters_->around(range);
  if (clusters.empty()) co_return IoResult();
  aio::Reactor& reactor = co_await aio::current_reactor();
  RangeLock::Hold hold(copies_, reactor, clusters, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  // Others may have copied them meanwhile.
  Range rest = clusters;
  while (!clusters_->is_given_up()) {
    const std::optional<Range> run = clusters_->next_to_copy(rest);
    if (!run) break;
    CO_TRY(co_await copy_run(*run));
    rest = {run->end(), clusters.end() - run->end()};
  }
  co_return IoResult();
}

aio::Task<IoResult> FrozenState::copy_run(Range run) {
  Range unsettled = run;
  for (std::uint64_t done = 0; done < run.length;) {
    const Range rest{run.offset + done, run.length - done};
    CO_TRY_ASSIGN(const std::uint64_t copied_bytes, co_await copy_some(rest, run.length));
    done += copied_bytes;
    const std::uint64_t end = run.offset + done;
    const Range whole = clusters_->inside({unsettled.offset, end - unsettled.offset});
    if (!whole.empty()) {
      co_await settle(whole);
      unsettled = {whole.end(), run.end() - whole.end()};
    }
    // Copies of what is in the page cache do not wait.
    if (done < run.length) co_await aio::next_turn();
  }
  co_return IoResult();
}

aio::Task<std::expected<std::uint64_t, Errno>> FrozenState::copy_some(Range rest, std::uint64_t run_bytes) {
  if (run_bytes > kCopyBytesMax) {
    // A long run may have large holes, which need not be read.
    Extents extents;
    CO_TRY(co_await source().extents(rest, extents));
    if (extents.front().zero) {
      const Range zeros{rest.offset, std::min(extents.front().length, rest.length)};
      CO_TRY(co_await target().write_zeroes(zeros, {.may_unmap = true}));
      co_return zeros.length;
    }
  }
  const Range piece{rest.offset, std::min(rest.length, kCopyBytesMax)};
  CO_TRY(co_await copy_bytes(piece));
  co_return piece.length;
}

aio::Task<IoResult> FrozenState::copy_bytes(Range range) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  const Range slot{next_slot_.fetch_add(1, std::memory_order_relaxed) % kCopiesMax, 1};
  RangeLock::Hold hold(slots_, reactor, slot, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  const std::size_t alignment =
      std::max({std::uint32_t{4096}, source().limits().memory_alignment, target().limits().memory_alignment});
  block::AlignedMemory memory(range.length, alignment);
  if (!memory) co_return fail(ENOMEM);
  const iovec vector{memory.bytes().data(), range.length};
  const IoBuffers buffers(&vector, 1);
  IoResult result = source().try_read(reactor, range, buffers);
  if (!result && result.error() == Errno(EAGAIN)) result = co_await source().read(range, buffers);
  if (!result) co_return result;
  // The target's own contents do not matter, so zeros have to be written too, in the cheapest way.
  if (block::is_zero(buffers)) co_return co_await target().write_zeroes(range, {.may_unmap = true});
  result = target().try_write(reactor, range, buffers);
  if (!result && result.error() == Errno(EAGAIN)) result = co_await target().write(range, buffers, {});
  co_return result;
}

aio::Task<void> FrozenState::settle(Range clusters) {
  RangeLock::Hold hold(source_reads_, co_await aio::current_reactor(), clusters, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  clusters_->set_copied(clusters);
}

aio::Task<IoResult> FrozenState::read_then(Range range, IoBuffers buffers) {
  for (std::uint64_t done = 0; done < range.length;) {
    const Range piece{range.offset + done, std::min(range.length - done, kReadBytesMax)};
    if (piece.length == range.length) co_return co_await read_piece(piece, buffers);
    const std::vector<iovec> part = block::slice(buffers, done, piece.length);
    CO_TRY(co_await read_piece(piece, part));
    done += piece.length;
  }
  co_return IoResult();
}

aio::Task<IoResult> FrozenState::read_piece(Range range, IoBuffers buffers) {
  RangeLock::Hold hold(source_reads_, co_await aio::current_reactor(), range, RangeLock::Kind::kShared);
  co_await hold.acquire();
  if (clusters_->readable_bytes(range) < range.length) co_return fail(EACCES);
  for (std::uint64_t done = 0; done < range.length;) {
    const Range rest{range.offset + done, range.length - done};
    const block::DirtyBits::Run run = clusters_->run_at(rest);
    block::Node& from = run.is_dirty ? source() : target();
    const Range part{rest.offset, run.length};
    if (run.length == range.length) {
      CO_TRY(co_await from.read(part, buffers));
    } else {
      const std::vector<iovec> vectors = block::slice(buffers, done, run.length);
      CO_TRY(co_await from.read(part, vectors));
    }
    done += run.length;
  }
  // Whoever gives the state up says so before the bytes change, so that no newer byte gets past this.
  if (clusters_->is_given_up()) co_return fail(EACCES);
  co_return IoResult();
}

aio::Task<IoResult> FrozenState::extents_then(Range range, Extents& extents) {
  const Range piece{range.offset, std::min(range.length, kExtentsBytesMax)};
  // Clusters that are still in the source must not become holes there before they are copied.
  RangeLock::Hold hold(source_reads_, co_await aio::current_reactor(), piece, RangeLock::Kind::kShared);
  co_await hold.acquire();
  const std::uint64_t readable_bytes = clusters_->readable_bytes(piece);
  if (readable_bytes == 0) co_return fail(EACCES);
  const block::DirtyBits::Run run = clusters_->run_at({piece.offset, readable_bytes});
  const std::size_t first_new = extents.size();
  block::Node& from = run.is_dirty ? source() : target();
  CO_TRY(co_await from.extents({piece.offset, run.length}, extents));
  if (clusters_->is_given_up()) co_return fail(EACCES);
  // Clients see one layer, whether the bytes are in the source or in the target.
  for (std::size_t i = first_new; i < extents.size(); ++i) extents[i].depth = std::min(extents[i].depth, 1u);
  co_return IoResult();
}

aio::Task<IoResult> FrozenState::drop_then(Range range) {
  const Range clusters = clusters_->inside(range);
  if (clusters.empty()) co_return IoResult();
  aio::Reactor& reactor = co_await aio::current_reactor();
  RangeLock::Hold copying(copies_, reactor, clusters, RangeLock::Kind::kExclusive);
  co_await copying.acquire();
  RangeLock::Hold reading(source_reads_, reactor, clusters, RangeLock::Kind::kExclusive);
  co_await reading.acquire();
  clusters_->drop(clusters);
  co_return co_await target().discard(clusters);
}

}  // namespace blockexport::drivers
