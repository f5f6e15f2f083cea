#include "drivers/qcow2/write/image_writer.h"

#include <algorithm>
#include <utility>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "base/error.h"
#include "block/buffers.h"
#include "block/debug_events.h"
#include "drivers/qcow2/map/guest_run.h"
#include "drivers/qcow2/write/cluster_writer.h"
#include "drivers/qcow2/write/cluster_zeroes.h"
#include "drivers/qcow2/write/compressed_writer.h"

namespace blockexport::drivers::qcow2 {

using block::IoBuffers;
using block::Range;

ImageWriter::ImageWriter(Image image, ImageTables& tables, ClusterPins& pins, GuestReader& guest, block::Edge& file,
                         block::Edge* data_file, WritePolicy policy, ImageEncryption* encryption)
    : metadata_(std::move(image.metadata)),
      allocator_(tables, pins,
                 Refcounts(tables.geometry(), std::move(image.refcount_table), image.refcount_table_offset, metadata_),
                 metadata_, file, image.allocation),
      metadata_writer_(tables, pins, allocator_, file, data_file, image.l1_offset),
      compressor_(image.compression_type, tables.geometry().cluster_bytes()),
      parts_{.tables = tables,
             .pins = pins,
             .allocator = allocator_,
             .metadata = metadata_writer_,
             .guest = guest,
             .file = file,
             .data = GuestData(data_file != nullptr ? *data_file : file, encryption)},
      policy_(policy) {}

bool ImageWriter::may_be_over_metadata(Range host) const {
  if (parts_.geometry().data_file) return false;
  const std::uint64_t first = parts_.geometry().cluster_of(host.offset);
  return metadata_.contains_fixed(first, parts_.geometry().cluster_of(host.end() - 1) - first + 1);
}

bool ImageWriter::is_over_metadata(Range host) {
  if (!may_be_over_metadata(host)) return false;
  const std::uint64_t first = parts_.geometry().cluster_of(host.offset);
  const std::lock_guard lock(parts_.tables.mutex());
  return metadata_.contains(first, parts_.geometry().cluster_of(host.end() - 1) - first + 1);
}

IoResult ImageWriter::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  if (is_corrupt()) return fail(EAGAIN);
  const ClusterPins::Pin pin = parts_.pins.pin(reactor);
  const std::expected<GuestRun, Errno> run = try_run(parts_.tables, range, RunPurpose::kWrite);
  if (!run || !run->overwritable || run->length != range.length) return fail(EAGAIN);
  const Range host{run->host_offset, range.length};
  if (may_be_over_metadata(host)) return fail(EAGAIN);
  return parts_.data.try_write(reactor, host, range.offset, buffers, hints);
}

std::optional<Range> ImageWriter::refused_place() const {
  const std::uint64_t length = refused_bytes_.load(std::memory_order_relaxed);
  if (length == 0) return std::nullopt;
  return Range{refused_offset_.load(std::memory_order_relaxed), length};
}

// The part of a compressed write in one cluster.
struct ImageWriter::Piece {
  Range range;
  std::vector<iovec> buffers;
  IoResult result = {};
};

aio::Task<IoResult> ImageWriter::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  if (options.compressed && (parts_.geometry().data_file || parts_.data.is_encrypted())) co_return fail(ENOTSUP);
  if (options.compressed) {
    CO_TRY(co_await write_clusters(range, buffers));
  } else {
    CO_TRY(co_await write_all(range, buffers, Form::kPlain));
  }
  co_return co_await end_change(options.force_unit_access);
}

aio::Task<IoResult> ImageWriter::write_clusters(Range range, IoBuffers buffers) {
  const std::uint64_t cluster_bytes = parts_.geometry().cluster_bytes();
  for (std::uint64_t done = 0; done < range.length;) {
    std::vector<Piece> pieces;
    while (done < range.length && pieces.size() < kCompressedAtOnceMax) {
      const std::uint64_t offset = range.offset + done;
      const std::uint64_t length =
          std::min(range.length - done, cluster_bytes - parts_.geometry().offset_in_cluster(offset));
      pieces.push_back({.range = {offset, length}, .buffers = block::slice(buffers, done, length)});
      done += length;
    }
    if (pieces.size() == 1) {
      CO_TRY(co_await write_all(pieces[0].range, pieces[0].buffers, Form::kCompressed));
      continue;
    }
    aio::Scope scope(co_await aio::current_reactor());
    for (Piece& piece : pieces) scope.spawn("compress a part of a write", write_piece(piece));
    co_await scope.join();
    for (const Piece& piece : pieces) CO_TRY(piece.result);
  }
  co_return IoResult();
}

aio::Task<void> ImageWriter::write_piece(Piece& piece) {
  piece.result = co_await write_all(piece.range, piece.buffers, Form::kCompressed);
}

aio::Task<IoResult> ImageWriter::write_all(Range range, IoBuffers buffers, Form form) {
  for (std::uint64_t done = 0; done < range.length;) {
    if (is_corrupt()) co_return fail(EIO);
    const Range rest{range.offset + done, range.length - done};
    const std::vector<iovec> part = block::slice(buffers, done, rest.length);
    CO_TRY_ASSIGN(const std::uint64_t written, co_await write_some(rest, part, form));
    done += written;
  }
  co_return IoResult();
}

// Returns how much of the beginning it has written; perhaps nothing, when the way has to be looked up again.
aio::Task<std::expected<std::uint64_t, Errno>> ImageWriter::write_some(Range range, IoBuffers buffers, Form form) {
  {
    const ClusterPins::Pin pin = parts_.pins.pin(co_await aio::current_reactor());
    CO_TRY_ASSIGN(const GuestRun run, co_await find_run(parts_.tables, range, RunPurpose::kWrite));
    if (run.overwritable) {
      const Range host{run.host_offset, run.length};
      if (is_over_metadata(host)) {
        refused_offset_.store(host.offset, std::memory_order_relaxed);
        refused_bytes_.store(host.length, std::memory_order_relaxed);
        stop();
        co_return fail(EIO);
      }
      const std::vector<iovec> part = block::slice(buffers, 0, run.length);
      block::debug_event(parts_.file, block::DebugEvent::kWriteAio);
      CO_TRY(co_await parts_.data.write(host, range.offset, part));
      co_return run.length;
    }
  }
  if (metadata_writer_.should_commit()) CO_TRY(co_await metadata_writer_.commit());
  co_return co_await allocate_and_write(range, buffers, form);
}

aio::Task<std::expected<std::uint64_t, Errno>> ImageWriter::allocate_and_write(Range range, IoBuffers buffers,
                                                                               Form form) {
  std::expected<std::uint64_t, Errno> written = co_await write_to(range, buffers, form);
  if (written || written.error() != Errno(ENOSPC)) co_return written;
  // A commit makes freed clusters available, and a file that cannot grow may have room in them.
  if (!metadata_writer_.is_dirty()) co_return written;
  CO_TRY(co_await metadata_writer_.commit());
  co_return co_await write_to(range, buffers, form);
}

aio::Task<std::expected<std::uint64_t, Errno>> ImageWriter::write_to(Range range, IoBuffers buffers, Form form) {
  if (form == Form::kCompressed) {
    CO_TRY_ASSIGN(const std::uint64_t written, co_await write_compressed(parts_, policy_, compressor_, range, buffers));
    if (written != 0) co_return written;
  }
  co_return co_await write_to_new_place(parts_, policy_, range, buffers);
}

aio::Task<IoResult> ImageWriter::write_zeroes(Range range, block::ZeroOptions options) {
  if (is_corrupt()) co_return fail(EIO);
  CO_TRY(co_await zero_range(parts_, policy_, range, options));
  co_return block::after_a_change(co_await end_change(options.force_unit_access));
}

aio::Task<IoResult> ImageWriter::discard(Range range) {
  if (is_corrupt()) co_return fail(EIO);
  co_return co_await discard_range(parts_, policy_, range);
}

aio::Task<IoResult> ImageWriter::end_change(bool force_unit_access) {
  if (!force_unit_access) co_return IoResult();
  co_return co_await metadata_writer_.commit();
}

}  // namespace blockexport::drivers::qcow2
