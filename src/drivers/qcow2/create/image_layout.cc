#include "drivers/qcow2/create/image_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/byte_writer.h"
#include "drivers/qcow2/format/l2_entry.h"
#include "drivers/qcow2/refcounts/refcount_words.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kEntryBytes = sizeof(std::uint64_t);

std::uint64_t divided_up(std::uint64_t value, std::uint64_t by) {
  return value / by + (value % by != 0 ? 1 : 0);
}

void put_entry(std::span<std::byte> table, std::uint64_t index, std::uint64_t value) {
  ByteWriter(table.subspan(index * kEntryBytes, kEntryBytes)).u64(value);
}

}  // namespace

Result<ImageLayout> ImageLayout::of(const Creation& creation, std::uint64_t encryption_bytes) {
  ImageLayout layout;
  const Geometry geometry = geometry_of(creation);
  layout.geometry_ = geometry;
  layout.size_bytes_ = creation.size_bytes;
  layout.raw_data_file_ = creation.data_file_raw;
  layout.guest_clusters_ = divided_up(creation.size_bytes, geometry.cluster_bytes());
  layout.l1_entries_ = geometry.l1_entries_for(creation.size_bytes);
  layout.l1_table_.count = divided_up(layout.l1_entries_ * kEntryBytes, geometry.cluster_bytes());
  if (preallocation_of(creation) != Preallocation::kOff) {
    layout.l2_tables_.count = layout.l1_entries_;
    if (!creation.has_data_file) layout.data_.count = layout.guest_clusters_;
  }
  // The refcount blocks count themselves and the refcount table, so their number is found in steps, which only add.
  layout.encryption_.count = divided_up(encryption_bytes, geometry.cluster_bytes());
  const std::uint64_t others =
      1 + layout.l1_table_.count + layout.l2_tables_.count + layout.encryption_.count + layout.data_.count;
  std::uint64_t blocks = 1;
  std::uint64_t table = 1;
  while (true) {
    const std::uint64_t needed = divided_up(others + blocks + table, geometry.refcount_block_entries());
    const std::uint64_t needed_table = divided_up(needed * kEntryBytes, geometry.cluster_bytes());
    if (needed_table * geometry.cluster_bytes() > std::max(kRefcountTableBytesMax, geometry.cluster_bytes())) {
      return fail(Error::system(fmt::format("{}Allocating clusters failed", kResizeFailed), Errno(EFBIG)));
    }
    if (needed <= blocks && needed_table <= table) break;
    blocks = std::max(blocks, needed);
    table = std::max(table, needed_table);
  }
  layout.refcount_table_ = {1, table};
  layout.refcount_blocks_ = {layout.refcount_table_.end(), blocks};
  layout.l1_table_.first = layout.refcount_blocks_.end();
  layout.l2_tables_.first = layout.l1_table_.end();
  layout.encryption_.first = layout.l2_tables_.end();
  layout.data_.first = layout.encryption_.end();
  if (layout.data_.end() > kHostOffsetLimit >> geometry.cluster_bits) {
    return fail(Error::system(fmt::format("{}Allocating clusters failed", kResizeFailed), Errno(EFBIG)));
  }
  return layout;
}

std::uint64_t ImageLayout::tables_end() const {
  if (l2_tables_.count > 0) return offset_of(l2_tables_.end());
  return offset_of(l1_table_.first) + l1_entries_ * kEntryBytes;
}

void ImageLayout::describe_in(Header& header) const {
  header.cluster_bits = geometry_.cluster_bits;
  header.size_bytes = size_bytes_;
  header.l1_entries = static_cast<std::uint32_t>(l1_entries_);
  header.l1_offset = l1_entries_ == 0 ? 0 : offset_of(l1_table_.first);
  header.refcount_table_offset = offset_of(refcount_table_.first);
  header.refcount_table_clusters = static_cast<std::uint32_t>(refcount_table_.count);
  header.refcount_order = geometry_.refcount_order;
}

void ImageLayout::fill(std::uint64_t offset, std::span<std::byte> bytes) const {
  std::uint64_t cluster = offset >> geometry_.cluster_bits;
  while (!bytes.empty()) {
    const std::size_t length = std::min<std::uint64_t>(bytes.size(), geometry_.cluster_bytes());
    fill_cluster(cluster, bytes.first(length));
    bytes = bytes.subspan(length);
    ++cluster;
  }
}

void ImageLayout::fill_cluster(std::uint64_t cluster, std::span<std::byte> bytes) const {
  const std::uint64_t entries_each = geometry_.cluster_bytes() / kEntryBytes;
  std::memset(bytes.data(), 0, bytes.size());
  if (cluster < refcount_blocks_.first) {
    fill_table(bytes, (cluster - refcount_table_.first) * entries_each, refcount_blocks_, 0);
  } else if (cluster < l1_table_.first) {
    fill_refcounts(bytes, (cluster - refcount_blocks_.first) << geometry_.refcount_block_bits());
  } else if (cluster < l2_tables_.first) {
    fill_table(bytes, (cluster - l1_table_.first) * entries_each, l2_tables_, kEntryCopied);
  } else {
    fill_l2(bytes, cluster - l2_tables_.first);
  }
}

void ImageLayout::fill_table(std::span<std::byte> bytes, std::uint64_t first_entry, const ClusterRange& clusters,
                             std::uint64_t flags) const {
  for (std::uint64_t i = 0; i < bytes.size() / kEntryBytes && first_entry + i < clusters.count; ++i) {
    put_entry(bytes, i, offset_of(clusters.first + first_entry + i) | flags);
  }
}

void ImageLayout::fill_refcounts(std::span<std::byte> bytes, std::uint64_t first_cluster) const {
  const std::uint64_t end = std::min(data_.end(), first_cluster + geometry_.refcount_block_entries());
  for (std::uint64_t cluster = first_cluster; cluster < end; ++cluster) {
    set_refcount_at(bytes, geometry_.refcount_order, cluster - first_cluster, 1);
  }
}

// Subclusters are left unallocated, so that they show the backing file. What is behind them reads as zeros; only a raw
// data file must be what the image shows.
void ImageLayout::fill_l2(std::span<std::byte> bytes, std::uint64_t table) const {
  const std::uint64_t words = geometry_.l2_entry_bytes() / kEntryBytes;
  const std::uint64_t first = table * geometry_.l2_entries();
  for (std::uint64_t i = 0; i < geometry_.l2_entries() && first + i < guest_clusters_; ++i) {
    const std::uint64_t host_cluster = geometry_.data_file ? first + i : data_.first + first + i;
    put_entry(bytes, i * words, encode_data(offset_of(host_cluster), /*copied=*/true));
    if (words > 1 && raw_data_file_) put_entry(bytes, i * words + 1, allocated_bits(0, kSubclustersPerCluster));
  }
}

}  // namespace blockexport::drivers::qcow2
