#include "drivers/foreign/map/grain_reader.h"

#include <zlib.h>

#include <algorithm>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "block/buffers.h"
#include "drivers/foreign/format/fields.h"
#include "drivers/foreign/map/file_read.h"

namespace blockexport::drivers::foreign {
namespace {

constexpr std::size_t kMemoryAlignment = 4096;
// A grain marker: the number of the first sector, and the length of the compressed bytes behind it.
constexpr std::uint64_t kMarkerBytes = 12;
constexpr std::uint64_t kLengthAt = 8;
// The compressed bytes of a grain have at most the length of two.
constexpr std::uint64_t kCompressedGrains = 2;

// Arguments of a decompression, perhaps on a worker thread.
struct Work {
  static std::int64_t run(void* argument) {
    auto& work = *static_cast<Work*>(argument);
    auto length = static_cast<uLongf>(work.grain.size());
    const int result =
        uncompress(reinterpret_cast<Bytef*>(work.grain.data()), &length,
                   reinterpret_cast<const Bytef*>(work.compressed.data()), static_cast<uLong>(work.compressed.size()));
    if (result == Z_MEM_ERROR) return ENOMEM;
    if (result != Z_OK) return EIO;
    work.grain_bytes = length;
    return 0;
  }

  std::span<const std::byte> compressed;
  std::span<std::byte> grain;
  std::uint64_t grain_bytes = 0;  // the last grain of a disk may be shorter
};

}  // namespace

GrainReader::GrainReader(std::uint64_t grain_bytes)
    : slots_(kDecompressionBytesMax / ((kCompressedGrains + 1) * std::max<std::uint64_t>(grain_bytes, 512))) {}

aio::Task<IoResult> GrainReader::read(DiskRun run, block::IoBuffers buffers) {
  const std::uint64_t grain_bytes = run.extent->table->block_bytes;
  CO_TRY(co_await slots_.take());
  const WorkSlots::Taken slot(slots_);
  block::AlignedMemory compressed(static_cast<std::size_t>(kMarkerBytes + kCompressedGrains * grain_bytes),
                                  kMemoryAlignment);
  block::AlignedMemory grain(static_cast<std::size_t>(grain_bytes), kMemoryAlignment);
  if (!compressed || !grain) co_return fail(ENOMEM);
  // Most grains are shorter than the disk's bytes in them, so this is one read.
  const iovec vector{compressed.bytes().data(), compressed.bytes().size()};
  CO_TRY(co_await read_padded(run.extent->file->node(), {run.offset, compressed.bytes().size()}, {&vector, 1}));
  const bool has_marker = run.extent->table->has_markers;
  const std::uint64_t begin = has_marker ? kMarkerBytes : 0;
  const std::uint64_t length_max = kCompressedGrains * grain_bytes;
  const std::uint64_t length = has_marker ? Fields(compressed.bytes()).le32(kLengthAt) : length_max;
  if (length == 0 || length > length_max) co_return fail(EIO);
  Work work{.compressed = compressed.bytes().subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(length)),
            .grain = grain.bytes()};
  std::int64_t error = 0;
  if (grain_bytes <= kInlineGrainBytesMax && !slots_.are_several_taken()) {
    error = Work::run(&work);
  } else {
    aio::Reactor& reactor = co_await aio::current_reactor();
    const auto called = co_await reactor.call(&Work::run, &work);
    if (!called) co_return fail(called.error());
    error = *called;
  }
  if (error != 0) co_return fail(static_cast<int>(error));
  const std::uint64_t wanted = block::length_of(buffers);
  if (run.offset_in_block > work.grain_bytes || wanted > work.grain_bytes - run.offset_in_block) co_return fail(EIO);
  block::copy_in(
      buffers, 0,
      grain.bytes().subspan(static_cast<std::size_t>(run.offset_in_block), static_cast<std::size_t>(wanted)));
  co_return IoResult();
}

}  // namespace blockexport::drivers::foreign
