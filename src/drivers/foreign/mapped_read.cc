// MappedDriver: reads and extents.
#include <algorithm>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/debug_events.h"
#include "block/extent_list.h"
#include "drivers/foreign/map/file_read.h"
#include "drivers/foreign/mapped_driver.h"

namespace blockexport::drivers::foreign {

using block::Extent;
using block::ExtentList;
using block::Extents;
using block::IoBuffers;
using block::Range;

namespace {

// Adds data of this node that the file may know as zeros.
std::uint64_t add_of_file(ExtentList& list, const Extents& below, std::uint64_t length_max) {
  std::uint64_t done = 0;
  for (const Extent& extent : below) {
    if (done == length_max) break;
    const std::uint64_t length = std::min(extent.length, length_max - done);
    if (!list.add({.length = length, .data = true, .zero = extent.zero})) break;
    done += length;
  }
  return done;
}

}  // namespace

// A run of a request, and the buffers for it.
struct MappedDriver::Piece {
  DiskRun run;
  Range range;
  std::vector<iovec> buffers;
  IoResult result = {};
};

std::uint64_t MappedDriver::backed_bytes(Range range) const {
  if (image_.backing == nullptr) return 0;
  const std::uint64_t size = image_.backing->node().size_bytes();
  return range.offset < size ? std::min(range.length, size - range.offset) : 0;
}

aio::Task<IoResult> MappedDriver::read_backing(Range range, IoBuffers buffers) {
  if (!is_right_backing_) co_return fail(EINVAL);
  if (image_.backing == nullptr) {
    block::fill_zero(buffers, 0);
    co_return IoResult();
  }
  co_return co_await read_padded(image_.backing->node(), range, buffers);
}

aio::Task<IoResult> MappedDriver::read_run(DiskRun run, Range range, IoBuffers buffers) {
  switch (run.kind) {
    case BlockKind::kData:
      block::debug_event(file(), block::DebugEvent::kReadAio);
      co_return co_await read_padded(run.extent->file->node(), {run.offset, range.length}, buffers);
    case BlockKind::kCompressed:
      block::debug_event(file(), block::DebugEvent::kReadCompressed);
      co_return co_await grains_.read(run, buffers);
    case BlockKind::kUnallocated:
      co_return co_await read_backing(range, buffers);
    case BlockKind::kZero:
      block::fill_zero(buffers, 0);
      co_return IoResult();
    case BlockKind::kInvalid:
      break;
  }
  co_return fail(EIO);
}

aio::Task<IoResult> MappedDriver::read(Range range, IoBuffers buffers) {
  CO_TRY_ASSIGN(const DiskRun run, co_await disk_.find(range));
  if (run.length == range.length) co_return co_await read_run(run, range, buffers);
  co_return co_await read_runs(range, buffers);
}

aio::Task<IoResult> MappedDriver::read_runs(Range range, IoBuffers buffers) {
  std::uint64_t done = 0;
  while (done < range.length) {
    std::vector<Piece> pieces;
    while (done < range.length && pieces.size() < kRunsAtOnceMax) {
      CO_TRY_ASSIGN(const DiskRun run, co_await disk_.find({range.offset + done, range.length - done}));
      pieces.push_back(
          {.run = run, .range = {range.offset + done, run.length}, .buffers = block::slice(buffers, done, run.length)});
      done += run.length;
    }
    CO_TRY(co_await read_pieces(pieces));
  }
  co_return IoResult();
}

aio::Task<void> MappedDriver::read_piece(Piece& piece) {
  piece.result = co_await read_run(piece.run, piece.range, piece.buffers);
}

aio::Task<IoResult> MappedDriver::read_pieces(std::vector<Piece>& pieces) {
  aio::Scope scope(co_await aio::current_reactor());
  for (Piece& piece : pieces) scope.spawn("read a part of an image", read_piece(piece));
  co_await scope.join();
  for (const Piece& piece : pieces) {
    if (!piece.result) co_return piece.result;
  }
  co_return IoResult();
}

aio::Task<IoResult> MappedDriver::prefetch(Range range) {
  CO_TRY_ASSIGN(const DiskRun run, co_await disk_.find(range));
  if (run.kind == BlockKind::kUnallocated) {
    const std::uint64_t backed = backed_bytes({range.offset, run.length});
    if (backed > 0) co_return co_await image_.backing->node().prefetch({range.offset, backed});
  }
  if (run.kind != BlockKind::kData) co_return IoResult();
  block::Node& node = run.extent->file->node();
  const Range place{run.offset, run.length};
  if (!place.fits(node.size_bytes())) co_return IoResult();
  co_return co_await node.prefetch(place);
}

IoResult MappedDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  const std::optional<DiskRun> run = disk_.try_find(range);
  if (!run || run->length < range.length) return fail(EAGAIN);
  switch (run->kind) {
    case BlockKind::kData: {
      block::Node& node = run->extent->file->node();
      const Range place{run->offset, range.length};
      if (!place.fits(node.size_bytes())) return fail(EAGAIN);
      return node.try_read(reactor, place, buffers, hints);
    }
    case BlockKind::kUnallocated:
      if (!is_right_backing_) return fail(EAGAIN);
      if (const std::uint64_t backed = backed_bytes(range); backed == range.length) {
        return image_.backing->node().try_read(reactor, range, buffers, hints);
      } else if (backed > 0) {
        return fail(EAGAIN);
      }
      [[fallthrough]];
    case BlockKind::kZero:
      block::fill_zero(buffers, 0);
      return {};
    case BlockKind::kCompressed:
    case BlockKind::kInvalid:
      break;
  }
  return fail(EAGAIN);
}

std::expected<block::FileSpan, Errno> MappedDriver::try_share(aio::Reactor& reactor, Range range) {
  const std::optional<DiskRun> run = disk_.try_find(range);
  if (!run || run->length < range.length || run->kind != BlockKind::kData) return fail(EAGAIN);
  block::Node& node = run->extent->file->node();
  const Range place{run->offset, range.length};
  if (!place.fits(node.size_bytes())) return fail(EAGAIN);
  return node.try_share(reactor, place);
}

aio::Task<IoResult> MappedDriver::read_shared(Range range, IoBuffers buffers) {
  CO_TRY_ASSIGN(const DiskRun run, co_await disk_.find(range));
  if (run.kind != BlockKind::kData || run.length < range.length) co_return co_await read(range, buffers);
  block::Node& node = run.extent->file->node();
  const Range place{run.offset, range.length};
  if (!place.fits(node.size_bytes())) co_return co_await read(range, buffers);
  co_return co_await node.read_shared(place, buffers);
}

// The source of the state of a run: the image alone, or the extents of another node.
struct MappedDriver::Decision {
  std::uint64_t add(ExtentList& list, const Extents& below) const {
    return is_backing ? list.add_deeper(below, range.length) : add_of_file(list, below, range.length);
  }

  Extent extent;                // without a node
  block::Node* node = nullptr;  // the backing node or the file
  Range range = {};             // of that node
  bool is_backing = false;
};

// `range` begins with the run.
MappedDriver::Decision MappedDriver::decide(const DiskRun& run, Range range) const {
  switch (run.kind) {
    case BlockKind::kUnallocated: {
      const std::uint64_t backed = backed_bytes({range.offset, run.length});
      if (backed == 0) return {.extent = block::unbacked(run.length, image_.backing != nullptr)};
      return {.extent = {}, .node = &image_.backing->node(), .range = {range.offset, backed}, .is_backing = true};
    }
    case BlockKind::kZero:
      return {.extent = {.length = run.length, .data = false, .zero = true}};
    case BlockKind::kData: {
      block::Node& file = run.extent->file->node();
      if (!run.extent->file_has_holes || run.offset >= file.size_bytes()) break;
      const std::uint64_t length = std::min(run.length, file.size_bytes() - run.offset);
      return {.extent = {}, .node = &file, .range = {run.offset, length}};
    }
    case BlockKind::kCompressed:
    case BlockKind::kInvalid:
      break;
  }
  return {.extent = {.length = run.length, .data = true}};
}

aio::Task<IoResult> MappedDriver::extents(Range range, Extents& extents) {
  ExtentList list(extents);
  std::uint64_t done = 0;
  for (unsigned lookups = 1; done < range.length; ++lookups) {
    if (lookups % kLookupsPerTurnMax == 0) co_await aio::next_turn();
    const Range rest{range.offset + done, range.length - done};
    const std::expected<DiskRun, Errno> run = co_await disk_.find(rest);
    if (!run && done == 0) co_return fail(run.error());
    // The next query reports the error.
    if (!run) break;
    const Decision decision = decide(*run, rest);
    if (decision.node == nullptr) {
      if (!list.add(decision.extent)) break;
      done += decision.extent.length;
      continue;
    }
    Extents below;
    const IoResult found = co_await decision.node->extents(decision.range, below);
    if (!found && done == 0) co_return found;
    const std::uint64_t added = found ? decision.add(list, below) : 0;
    if (added == 0) break;
    done += added;
  }
  co_return IoResult();
}

IoResult MappedDriver::try_extents(aio::Reactor& reactor, Range range, Extents& extents) {
  ExtentList list(extents);
  std::uint64_t done = 0;
  for (unsigned lookups = 0; done < range.length && lookups < kLookupsPerTurnMax; ++lookups) {
    const Range rest{range.offset + done, range.length - done};
    const std::optional<DiskRun> run = disk_.try_find(rest);
    if (!run) break;
    const Decision decision = decide(*run, rest);
    if (decision.node == nullptr) {
      if (!list.add(decision.extent)) break;
      done += decision.extent.length;
      continue;
    }
    Extents below;
    if (!decision.node->try_extents(reactor, decision.range, below)) break;
    const std::uint64_t added = decision.add(list, below);
    if (added == 0) break;
    done += added;
  }
  if (done == 0) return fail(EAGAIN);
  return {};
}

}  // namespace blockexport::drivers::foreign
