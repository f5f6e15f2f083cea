#include "drivers/qcow2/write/compressed_writer.h"

#include "aio/task/current.h"
#include "base/error.h"
#include "block/buffers.h"
#include "block/debug_events.h"
#include "drivers/qcow2/write/old_content.h"
#include "drivers/qcow2/write/table_changes.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::IoBuffers;
using block::Range;

constexpr std::size_t kMemoryAlignment = 4096;

class CompressedPlace {
 public:
  CompressedPlace(ImageParts& parts, const WritePolicy& policy, ClusterCompressor& compressor, std::uint64_t cluster)
      : parts_(parts), policy_(policy), compressor_(compressor), cluster_(cluster) {}

  aio::Task<std::expected<std::uint64_t, Errno>> write(Range range, IoBuffers buffers);

 private:
  const Geometry& geometry() const { return parts_.geometry(); }
  Range whole() const { return {cluster_ << geometry().cluster_bits, geometry().cluster_bytes()}; }

  aio::Task<std::expected<std::uint64_t, Errno>> compress(Range range, IoBuffers buffers,
                                                          std::span<std::byte> compressed);
  aio::Task<IoResult> read_around(Range range, std::span<std::byte> cluster);
  aio::Task<IoResult> store(std::span<const std::byte> compressed, const L2Entry& old_entry);
  aio::Task<IoResult> write_and_link(std::uint64_t host_offset, std::span<const std::byte> compressed,
                                     const L2Entry& old_entry);

  ImageParts& parts_;
  const WritePolicy& policy_;
  ClusterCompressor& compressor_;
  std::uint64_t cluster_;
};

aio::Task<std::expected<std::uint64_t, Errno>> CompressedPlace::write(Range range, IoBuffers buffers) {
  block::RangeLock::Hold hold(parts_.changes, co_await aio::current_reactor(), whole(),
                              block::RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  CO_TRY(co_await make_table_writable(parts_, cluster_));
  CO_TRY_ASSIGN(const L2Entry old_entry, co_await parts_.tables.entry(cluster_));
  const ClusterPlace place = place_of(geometry(), old_entry);
  if (place.kind == ClusterKind::kInvalid) co_return fail(EIO);
  // Others overwrite such a cluster in place without a lock.
  if (place.has_host_cluster && place.copied) co_return 0;

  // The slot comes after the hold: a task with a slot waits for no other task that needs one.
  CO_TRY(co_await compressor_.slots().take());
  const WorkSlots::Taken slot(compressor_.slots());
  const block::AlignedMemory compressed(geometry().cluster_bytes(), kMemoryAlignment);
  if (!compressed) co_return fail(ENOMEM);
  // Only less than a cluster is worth it.
  const std::span<std::byte> target = compressed.bytes().first(geometry().cluster_bytes() - 1);
  CO_TRY_ASSIGN(const std::uint64_t bytes, co_await compress(range, buffers, target));
  if (bytes == 0) co_return 0;
  CO_TRY(co_await store(target.first(bytes), old_entry));
  co_return range.length;
}

aio::Task<std::expected<std::uint64_t, Errno>> CompressedPlace::compress(Range range, IoBuffers buffers,
                                                                         std::span<std::byte> compressed) {
  if (range == whole() && buffers.size() == 1) {
    const std::span<const std::byte> bytes(static_cast<const std::byte*>(buffers[0].iov_base), buffers[0].iov_len);
    co_return co_await compressor_.compress(bytes, compressed);
  }
  const block::AlignedMemory cluster(geometry().cluster_bytes(), kMemoryAlignment);
  if (!cluster) co_return fail(ENOMEM);
  CO_TRY(co_await read_around(range, cluster.bytes()));
  block::copy_out(buffers, 0, cluster.bytes().subspan(range.offset - whole().offset, range.length));
  co_return co_await compressor_.compress(cluster.bytes(), compressed);
}

// The bytes of the cluster that the request does not have.
aio::Task<IoResult> CompressedPlace::read_around(Range range, std::span<std::byte> cluster) {
  const std::uint64_t head_bytes = range.offset - whole().offset;
  const std::uint64_t tail_bytes = whole().end() - range.end();
  if (head_bytes + tail_bytes == 0) co_return IoResult();
  block::debug_event(parts_.file, block::DebugEvent::kCowRead);
  if (head_bytes != 0) {
    CO_TRY(co_await read_old_content(parts_, {whole().offset, head_bytes}, cluster.first(head_bytes)));
  }
  if (tail_bytes == 0) co_return IoResult();
  co_return co_await read_old_content(parts_, {range.end(), tail_bytes}, cluster.last(tail_bytes));
}

aio::Task<IoResult> CompressedPlace::store(std::span<const std::byte> compressed, const L2Entry& old_entry) {
  CO_TRY_ASSIGN(const std::uint64_t host_offset, co_await parts_.allocator.allocate_bytes(compressed.size()));
  IoResult result = co_await write_and_link(host_offset, compressed, old_entry);
  if (result) co_return result;
  const std::uint64_t first = geometry().cluster_of(host_offset);
  const std::uint64_t last = geometry().cluster_of(host_offset + compressed.size() - 1);
  const std::lock_guard lock(parts_.tables.mutex());
  parts_.allocator.free({.clusters = {first, last - first + 1}});
  co_return result;
}

aio::Task<IoResult> CompressedPlace::write_and_link(std::uint64_t host_offset, std::span<const std::byte> compressed,
                                                    const L2Entry& old_entry) {
  const std::optional<std::uint64_t> descriptor = encode_compressed(geometry(), host_offset, compressed.size());
  if (!descriptor) co_return fail(EFBIG);
  const iovec vector{const_cast<std::byte*>(compressed.data()), compressed.size()};
  block::debug_event(parts_.file, block::DebugEvent::kWriteCompressed);
  CO_TRY(co_await parts_.file.node().write({host_offset, compressed.size()}, {&vector, 1}, {.may_grow = true}));
  const L2Entry entry{.descriptor = *descriptor};
  const FreedRun freed{.clusters = clusters_of(geometry(), old_entry), .discard = policy_.pass_discard_other};
  block::debug_event(parts_.file, block::DebugEvent::kL2UpdateCompressed);
  co_return co_await set_entries(parts_, cluster_, {&entry, 1}, std::span(&freed, freed.clusters.count == 0 ? 0 : 1));
}

}  // namespace

aio::Task<std::expected<std::uint64_t, Errno>> write_compressed(ImageParts& parts, const WritePolicy& policy,
                                                                ClusterCompressor& compressor, Range range,
                                                                IoBuffers buffers) {
  CompressedPlace place(parts, policy, compressor, parts.geometry().cluster_of(range.offset));
  co_return co_await place.write(range, buffers);
}

}  // namespace blockexport::drivers::qcow2
