#include "drivers/qcow2/bitmaps/save_bitmap.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/task/current.h"
#include "base/byte_writer.h"
#include "block/buffers.h"
#include "drivers/qcow2/bitmaps/bitmap_clusters.h"

namespace blockexport::drivers::qcow2 {
namespace {

// Bytes of bits that one write has; at least one cluster.
constexpr std::uint64_t kBatchBytes = 256u << 10;
// Clusters whose bits are looked at in one turn of the event loop, unless they are written.
constexpr std::uint64_t kClustersPerTurn = 16;

class Saving {
 public:
  Saving(ImageParts& parts, const block::DirtyBits& bits, std::vector<HostClusters>& taken)
      : parts_(parts), bits_(bits), taken_(taken), batch_(std::max<std::uint64_t>(1, kBatchBytes >> cluster_bits())) {
    table_.resize(bitmap_clusters(parts.geometry(), bits.size_bytes(), granularity_bits_of(bits)));
  }

  // The first error.
  aio::Task<IoResult> write_bits() {
    for (std::uint64_t at = 0; at < table_.size();) {
      const std::uint64_t mixed = mixed_clusters(at);
      if (mixed == 0) {
        table_[at] = kind(at) == ClusterBits::kAllOnes ? kBitmapEntryAllOnes : 0;
        if (++at % kClustersPerTurn == 0) co_await aio::next_turn();
        continue;
      }
      CO_TRY_ASSIGN(const Allocated made, co_await parts_.allocator.allocate(mixed));
      taken_.push_back(made.clusters);
      CO_TRY(co_await write_clusters(at, made.clusters));
      at += made.clusters.count;
    }
    co_return IoResult();
  }

  // The offset of the table in the image.
  aio::Task<std::expected<std::uint64_t, Errno>> write_table() {
    const std::uint64_t bytes = parts_.geometry().round_up(table_.size() * sizeof(std::uint64_t));
    CO_TRY_ASSIGN(const Allocated made, co_await parts_.allocator.allocate_exactly(bytes >> cluster_bits()));
    taken_.push_back(made.clusters);
    std::vector<std::byte> content(bytes);
    ByteWriter writer(content);
    for (const std::uint64_t entry : table_) writer.u64(entry);
    const std::uint64_t offset = made.clusters.first << cluster_bits();
    CO_TRY(co_await write(offset, content));
    co_return offset;
  }

  std::uint64_t entries() const { return table_.size(); }

 private:
  unsigned cluster_bits() const { return parts_.geometry().cluster_bits; }
  ClusterBits kind(std::uint64_t cluster) const { return kind_of_cluster(parts_.geometry(), bits_, cluster); }

  std::uint64_t mixed_clusters(std::uint64_t at) const {
    std::uint64_t count = 0;
    while (count < batch_ && at + count < table_.size() && kind(at + count) == ClusterBits::kMixed) ++count;
    return count;
  }

  aio::Task<IoResult> write_clusters(std::uint64_t at, HostClusters clusters) {
    const block::AlignedMemory memory(clusters.count << cluster_bits(), 4096);
    if (!memory) co_return fail(ENOMEM);
    copy_clusters(parts_.geometry(), bits_, at, memory.bytes());
    for (std::uint64_t i = 0; i < clusters.count; ++i) table_[at + i] = (clusters.first + i) << cluster_bits();
    co_return co_await write(clusters.first << cluster_bits(), memory.bytes());
  }

  aio::Task<IoResult> write(std::uint64_t offset, std::span<std::byte> bytes) {
    const iovec vector{bytes.data(), bytes.size()};
    co_return co_await parts_.file.node().write({offset, bytes.size()}, {&vector, 1}, {.may_grow = true});
  }

  ImageParts& parts_;
  const block::DirtyBits& bits_;
  std::vector<HostClusters>& taken_;
  std::uint64_t batch_;
  std::vector<std::uint64_t> table_;
};

}  // namespace

aio::Task<Result<StoredBitmap>> save_bitmap(ImageParts& parts, const block::DirtyBitmap& bitmap,
                                            std::vector<HostClusters>& taken) {
  const auto failed = [&bitmap](Errno error) {
    const char* const what = error == Errno(ENOSPC) || error == Errno(EFBIG) ? "Failed to allocate clusters for bitmap"
                                                                             : "Failed to write bitmap";
    return fail(Error::system(fmt::format("{} '{}'", what, bitmap.name()), error));
  };
  const block::DirtyBits& bits = bitmap.bits();
  StoredBitmap stored{.flags = bitmap.is_enabled() ? kBitmapAuto : 0,
                      .granularity_bits = static_cast<std::uint8_t>(granularity_bits_of(bits)),
                      .name = bitmap.name()};
  Saving saving(parts, bits, taken);
  if (const IoResult written = co_await saving.write_bits(); !written) co_return failed(written.error());
  const auto offset = co_await saving.write_table();
  if (!offset) co_return failed(offset.error());
  stored.table_offset = *offset;
  stored.table_entries = static_cast<std::uint32_t>(saving.entries());
  co_return stored;
}

}  // namespace blockexport::drivers::qcow2
