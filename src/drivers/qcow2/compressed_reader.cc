#include "drivers/qcow2/compressed_reader.h"

#include <algorithm>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "block/buffers.h"
#include "drivers/qcow2/file/zero_padded_read.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::size_t kMemoryAlignment = 4096;
// A cluster, and compressed bytes for which the entries have room for two clusters.
constexpr std::uint64_t kClustersPerSlot = 3;

}  // namespace

// Arguments of a decompression on a worker thread.
struct CompressedReader::Work {
  static std::int64_t run(void* argument) {
    auto& work = *static_cast<Work*>(argument);
    const IoResult result = work.decompressor.decompress(work.compressed, work.cluster);
    return result ? 0 : result.error().value();
  }

  ClusterDecompressor& decompressor;
  std::span<const std::byte> compressed;
  std::span<std::byte> cluster;
};

CompressedReader::CompressedReader(CompressionType type, std::uint64_t cluster_bytes)
    : decompressor_(type),
      cluster_bytes_(cluster_bytes),
      slots_(kDecompressionBytesMax / (kClustersPerSlot * cluster_bytes)) {}

aio::Task<IoResult> CompressedReader::read(block::Node& file, GuestRun run, std::uint64_t offset_in_cluster,
                                           block::IoBuffers buffers, Where where) {
  CO_TRY(co_await slots_.take());
  const WorkSlots::Taken slot(slots_);
  // Requests that arrived together begin before the first one decompresses. Then worker threads serve them at the same
  // time; a single one is quicker without a change of threads.
  if (where == Where::kInline) co_await aio::next_turn();
  if (slots_.are_several_taken()) where = Where::kWorker;
  co_return co_await read_in_slot(file, run, offset_in_cluster, buffers, where);
}

aio::Task<IoResult> CompressedReader::read_in_slot(block::Node& file, GuestRun run, std::uint64_t offset_in_cluster,
                                                   block::IoBuffers buffers, Where where) {
  block::AlignedMemory compressed(static_cast<std::size_t>(run.compressed_bytes), kMemoryAlignment);
  if (!compressed) co_return fail(ENOMEM);
  const iovec vector{compressed.bytes().data(), compressed.bytes().size()};
  CO_TRY(co_await read_zero_padded(file, {run.host_offset, run.compressed_bytes}, block::IoBuffers(&vector, 1)));
  if (run.length == cluster_bytes_ && buffers.size() == 1) {
    const std::span<std::byte> target(static_cast<std::byte*>(buffers[0].iov_base), buffers[0].iov_len);
    co_return co_await decompress(compressed.bytes(), target, where);
  }
  block::AlignedMemory cluster(static_cast<std::size_t>(cluster_bytes_), kMemoryAlignment);
  if (!cluster) co_return fail(ENOMEM);
  CO_TRY(co_await decompress(compressed.bytes(), cluster.bytes(), where));
  block::copy_in(
      buffers, 0,
      cluster.bytes().subspan(static_cast<std::size_t>(offset_in_cluster), static_cast<std::size_t>(run.length)));
  co_return IoResult();
}

aio::Task<IoResult> CompressedReader::decompress(std::span<const std::byte> compressed, std::span<std::byte> cluster,
                                                 Where where) {
  if (where == Where::kInline && cluster_bytes_ <= kInlineClusterBytesMax) {
    co_return decompressor_.decompress(compressed, cluster);
  }
  aio::Reactor& reactor = co_await aio::current_reactor();
  Work work{decompressor_, compressed, cluster};
  const auto result = co_await reactor.call(&Work::run, &work);
  if (!result) co_return fail(result.error());
  if (*result != 0) co_return fail(static_cast<int>(*result));
  co_return IoResult();
}

}  // namespace blockexport::drivers::qcow2
