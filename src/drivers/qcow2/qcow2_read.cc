// Qcow2Driver: lookups and reads.
#include <fmt/format.h>

#include <algorithm>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/debug_events.h"
#include "drivers/qcow2/file/zero_padded_read.h"
#include "drivers/qcow2/qcow2_driver.h"

namespace blockexport::drivers::qcow2 {

using block::IoBuffers;
using block::Range;

// A run of a request, and the buffers for it.
struct Qcow2Driver::Piece {
  GuestRun run;
  Range range;
  std::vector<iovec> buffers;
  IoResult result = {};
};

aio::Task<std::expected<GuestRun, Errno>> Qcow2Driver::find(Range range) {
  std::expected<GuestRun, Errno> run = co_await find_run(*tables_, range, RunPurpose::kRead);
  if (!run && run.error() == Errno(EIO)) {
    if (std::optional<std::string> wrong = describe_wrong_entry(range.offset)) {
      co_await report_corruption(std::move(*wrong), std::nullopt);
    }
  }
  co_return run;
}

// Nothing when the table could not be read: that is no fault of the image.
std::optional<std::string> Qcow2Driver::describe_wrong_entry(std::uint64_t offset) const {
  const Geometry& geometry = tables_->geometry();
  const std::uint64_t cluster = geometry.cluster_of(offset);
  const std::uint64_t index = geometry.l1_index(cluster);
  const std::uint64_t table = tables_->l1_entry(index) & kEntryOffsetMask;
  if (geometry.offset_in_cluster(table) != 0) {
    return fmt::format("L2 table offset {:#x} unaligned (L1 index: {:#x})", table, index);
  }
  const auto entry = tables_->try_entry(cluster);
  if (!entry) return std::nullopt;
  return fmt::format("Cluster entry {:#x} is invalid (L2 offset: {:#x}, L2 index: {:#x})", entry->descriptor, table,
                     geometry.l2_index(cluster));
}

std::uint64_t Qcow2Driver::backed_bytes(Range range) const {
  if (backing_ == nullptr) return 0;
  const std::uint64_t size = backing_->node().size_bytes();
  return range.offset < size ? std::min(range.length, size - range.offset) : 0;
}

aio::Task<IoResult> Qcow2Driver::read_backing(Range range, IoBuffers buffers) {
  const std::uint64_t backed = backed_bytes(range);
  if (backed == range.length) co_return co_await backing_->node().read(range, buffers);
  block::fill_zero(buffers, backed);
  if (backed == 0) co_return IoResult();
  const std::vector<iovec> vectors = block::slice(buffers, 0, backed);
  co_return co_await backing_->node().read({range.offset, backed}, vectors);
}

aio::Task<IoResult> Qcow2Driver::read_run(GuestRun run, Range range, IoBuffers buffers, CompressedReader::Where where) {
  switch (run.kind) {
    case ClusterKind::kData:
      block::debug_event(*file_, block::DebugEvent::kReadAio);
      co_return co_await data().read({run.host_offset, range.length}, range.offset, buffers);
    case ClusterKind::kCompressed:
      block::debug_event(*file_, block::DebugEvent::kReadCompressed);
      co_return co_await compressed_.read(file(), run, tables_->geometry().offset_in_cluster(range.offset), buffers,
                                          where);
    case ClusterKind::kUnallocated:
      if (backing_ != nullptr) block::debug_event(*file_, block::DebugEvent::kReadBackingAio);
      co_return co_await read_backing(range, buffers);
    case ClusterKind::kZero:
      block::fill_zero(buffers, 0);
      co_return IoResult();
    case ClusterKind::kInvalid:
      break;
  }
  co_return fail(EIO);
}

aio::Task<IoResult> Qcow2Driver::read(Range range, IoBuffers buffers) {
  const ClusterPins::Pin pin = pins_.pin(co_await aio::current_reactor());
  CO_TRY_ASSIGN(const GuestRun run, co_await find(range));
  if (run.length == range.length) {
    co_return co_await read_run(run, range, buffers, CompressedReader::Where::kInline);
  }
  co_return co_await read_runs(range, buffers);
}

aio::Task<IoResult> Qcow2Driver::read_runs(Range range, IoBuffers buffers) {
  std::uint64_t done = 0;
  while (done < range.length) {
    std::vector<Piece> pieces;
    while (done < range.length && pieces.size() < kRunsAtOnceMax) {
      CO_TRY_ASSIGN(const GuestRun run, co_await find({range.offset + done, range.length - done}));
      pieces.push_back(
          {.run = run, .range = {range.offset + done, run.length}, .buffers = block::slice(buffers, done, run.length)});
      done += run.length;
    }
    CO_TRY(co_await read_pieces(pieces));
  }
  co_return IoResult();
}

aio::Task<void> Qcow2Driver::read_piece(Piece& piece, CompressedReader::Where where) {
  piece.result = co_await read_run(piece.run, piece.range, piece.buffers, where);
}

aio::Task<IoResult> Qcow2Driver::read_pieces(std::span<Piece> pieces) {
  const auto compressed =
      std::ranges::count_if(pieces, [](const Piece& one) { return one.run.kind == ClusterKind::kCompressed; });
  const auto where = compressed > 1 ? CompressedReader::Where::kWorker : CompressedReader::Where::kInline;
  aio::Scope scope(co_await aio::current_reactor());
  for (Piece& piece : pieces) scope.spawn("read a part of a qcow2 image", read_piece(piece, where));
  co_await scope.join();
  for (const Piece& piece : pieces) {
    if (!piece.result) co_return piece.result;
  }
  co_return IoResult();
}

IoResult Qcow2Driver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  const ClusterPins::Pin pin = pins_.pin(reactor);
  const std::expected<GuestRun, Errno> run = try_run(*tables_, range, RunPurpose::kRead);
  // The blocking verb reports what is wrong with the image.
  if (!run || run->length < range.length) return fail(EAGAIN);
  switch (run->kind) {
    case ClusterKind::kData: {
      return data().try_read(reactor, {run->host_offset, range.length}, range.offset, buffers, hints);
    }
    case ClusterKind::kUnallocated:
      if (const std::uint64_t backed = backed_bytes(range); backed == range.length) {
        return backing_->node().try_read(reactor, range, buffers, hints);
      } else if (backed > 0) {
        return fail(EAGAIN);
      }
      [[fallthrough]];
    case ClusterKind::kZero:
      block::fill_zero(buffers, 0);
      return {};
    case ClusterKind::kCompressed:
    case ClusterKind::kInvalid:
      break;
  }
  return fail(EAGAIN);
}

}  // namespace blockexport::drivers::qcow2
