#include "drivers/qcow2/testing/image_builder.h"

#include <zlib.h>
#ifdef BLOCKEXPORT_ZSTD
#include <zstd.h>
#endif

#include <algorithm>
#include <cassert>

#include "base/byte_reader.h"
#include "base/byte_writer.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::byte kReservedFill{0xee};
constexpr std::uint64_t kBitmapGranularityBits = 16;

std::uint64_t divided_up(std::uint64_t value, std::uint64_t by) {
  return (value + by - 1) / by;
}

void put_refcount(std::span<std::byte> block, unsigned order, std::uint64_t index, std::uint64_t value) {
  const unsigned bits = 1u << order;
  if (bits < 8) {
    const std::uint64_t bit = index * bits;
    block[bit / 8] |= std::byte(value << (bit % 8));
    return;
  }
  for (unsigned i = 0; i < bits / 8; i++) {
    block[index * (bits / 8) + i] = std::byte(value >> (bits - 8 - 8 * i));
  }
}

}  // namespace

std::vector<std::byte> compress_cluster(CompressionType type, std::span<const std::byte> bytes) {
  std::vector<std::byte> result(bytes.size() + bytes.size() / 8 + 1024);
#ifdef BLOCKEXPORT_ZSTD
  if (type == CompressionType::kZstd) {
    result.resize(ZSTD_compress(result.data(), result.size(), bytes.data(), bytes.size(), 1));
    return result;
  }
#endif
  assert(type == CompressionType::kZlib);
  z_stream stream{};
  deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  deflate(&stream, Z_FINISH);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

ImageBuilder::ImageBuilder(ImageShape shape) : shape_(std::move(shape)) {
  header_.version = shape_.version;
  header_.cluster_bits = shape_.cluster_bits;
  header_.size_bytes = shape_.size_bytes;
  header_.refcount_order = shape_.refcount_order;
  if (shape_.version == 2) header_.header_bytes = kHeaderBytesVersion2;
  if (shape_.extended_l2) header_.incompatible_features |= kIncompatibleExtendedL2;
  if (shape_.data_file) header_.incompatible_features |= kIncompatibleDataFile;
  if (shape_.raw_data_file) header_.autoclear_features |= kAutoclearRawDataFile;
  header_.compression_type = shape_.compression_type;
  if (shape_.compression_type != CompressionType::kZlib) header_.incompatible_features |= kIncompatibleCompression;
  geometry_ = header_.geometry();
  if (!shape_.backing_format.empty()) extensions_.set_text(kExtensionBackingFormat, shape_.backing_format);
  allocate();  // of the header
  header_.l1_entries = static_cast<std::uint32_t>(geometry_.l1_entries_for(shape_.size_bytes));
  const std::uint64_t l1_clusters =
      divided_up(std::max<std::uint64_t>(header_.l1_entries, 1) * 8, header_.cluster_bytes());
  header_.l1_offset = allocate_many(l1_clusters);
  if (shape_.data_file) data_file_.resize(shape_.size_bytes);
  shown_.resize(shape_.size_bytes);
  is_shown_.resize(shape_.size_bytes);
}

std::uint64_t ImageBuilder::allocate_many(std::uint64_t clusters) {
  const std::uint64_t offset = file_.size();
  file_.resize(file_.size() + clusters * header_.cluster_bytes());
  refcounts_.resize(refcounts_.size() + clusters, 1);
  return offset;
}

std::uint64_t ImageBuilder::allocate() {
  return allocate_many(1);
}

std::span<std::byte> ImageBuilder::cluster_at(std::uint64_t host_offset) {
  return std::span(file_).subspan(host_offset, header_.cluster_bytes());
}

void ImageBuilder::write_u64(std::uint64_t host_offset, std::uint64_t value) {
  ByteWriter(std::span(file_).subspan(host_offset, 8)).u64(value);
}

std::uint64_t ImageBuilder::read_u64(std::uint64_t host_offset) const {
  ByteReader reader(std::span(file_).subspan(host_offset, 8));
  return reader.u64();
}

void ImageBuilder::set_l1_entry(std::uint64_t l1_index, std::uint64_t entry) {
  write_u64(header_.l1_offset + l1_index * 8, entry);
}

std::uint64_t ImageBuilder::table_offset(std::uint64_t l1_index) {
  const std::uint64_t at = header_.l1_offset + l1_index * 8;
  const std::uint64_t present = read_u64(at) & kEntryOffsetMask;
  if (present != 0 && (read_u64(at) & kEntryCopied) != 0) return present;
  const std::uint64_t table = allocate();
  if (present != 0) {  // shared with a snapshot; the clusters of its entries are counted for both already
    std::ranges::copy(cluster_at(present), cluster_at(table).begin());
    refcounts_[geometry_.cluster_of(present)]--;
  }
  write_u64(at, table | kEntryCopied);
  return table;
}

std::uint64_t ImageBuilder::entry_offset(std::uint64_t guest_cluster) {
  return table_offset(geometry_.l1_index(guest_cluster)) +
         geometry_.l2_index(guest_cluster) * geometry_.l2_entry_bytes();
}

L2Entry ImageBuilder::entry(std::uint64_t guest_cluster) {
  const std::uint64_t at = entry_offset(guest_cluster);
  return {.descriptor = read_u64(at), .subclusters = shape_.extended_l2 ? read_u64(at + 8) : 0};
}

void ImageBuilder::set_entry(std::uint64_t guest_cluster, const L2Entry& entry) {
  const std::uint64_t at = entry_offset(guest_cluster);
  write_u64(at, entry.descriptor);
  if (shape_.extended_l2) write_u64(at + 8, entry.subclusters);
}

std::span<std::byte> ImageBuilder::place_data(std::uint64_t guest_cluster, std::uint64_t& descriptor) {
  if (!shape_.data_file) {
    const std::uint64_t host = allocate();
    descriptor = encode_data(host, true);
    return cluster_at(host);
  }
  const std::uint64_t host = guest_cluster << shape_.cluster_bits;
  descriptor = encode_data(host, true);
  data_file_.resize(std::max<std::uint64_t>(data_file_.size(), host + header_.cluster_bytes()));
  return std::span(data_file_).subspan(host, header_.cluster_bytes());
}

void ImageBuilder::show(std::uint64_t offset, std::span<const std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size() && offset + i < shown_.size(); i++) {
    shown_[offset + i] = bytes[i];
    is_shown_[offset + i] = true;
  }
}

void ImageBuilder::data(std::uint64_t guest_cluster, std::span<const std::byte> bytes) {
  std::uint64_t descriptor = 0;
  std::ranges::copy(bytes, place_data(guest_cluster, descriptor).begin());
  set_entry(guest_cluster, {.descriptor = descriptor, .subclusters = allocated_bits(0, 32)});
  show(guest_cluster << shape_.cluster_bits, bytes);
}

void ImageBuilder::data(std::uint64_t guest_cluster, std::byte fill) {
  data(guest_cluster, std::vector<std::byte>(header_.cluster_bytes(), fill));
}

void ImageBuilder::zero(std::uint64_t guest_cluster, bool reserved) {
  std::uint64_t descriptor = 0;
  if (reserved) std::ranges::fill(place_data(guest_cluster, descriptor), kReservedFill);
  if (!shape_.extended_l2) descriptor |= kEntryZero;
  set_entry(guest_cluster, {.descriptor = descriptor, .subclusters = zero_bits(0, 32)});
  show(guest_cluster << shape_.cluster_bits, std::vector<std::byte>(header_.cluster_bytes()));
}

void ImageBuilder::compressed(std::uint64_t guest_cluster, std::span<const std::byte> bytes) {
  const std::vector<std::byte> content = compress_cluster(shape_.compression_type, bytes);
  assert(content.size() <= header_.cluster_bytes());
  // Compressed clusters share host clusters, each with a reference.
  const std::uint64_t room =
      compressed_end_ == 0 ? 0 : header_.cluster_bytes() - geometry_.offset_in_cluster(compressed_end_);
  if (room < content.size() || geometry_.offset_in_cluster(compressed_end_) == 0) {
    compressed_end_ = allocate();
    refcounts_[geometry_.cluster_of(compressed_end_)] = 0;
  }
  std::ranges::copy(content, std::span(file_).subspan(compressed_end_).begin());
  refcounts_[geometry_.cluster_of(compressed_end_)]++;
  set_entry(guest_cluster, {.descriptor = *encode_compressed(geometry_, compressed_end_, content.size())});
  compressed_end_ += content.size();
  show(guest_cluster << shape_.cluster_bits, bytes);
}

void ImageBuilder::subclusters(std::uint64_t guest_cluster, std::uint32_t allocated, std::uint32_t zero,
                               std::byte fill) {
  std::uint64_t descriptor = 0;
  const std::uint64_t bytes = geometry_.subcluster_bytes();
  std::span<std::byte> host = place_data(guest_cluster, descriptor);
  std::ranges::fill(host, kReservedFill);
  for (unsigned i = 0; i < kSubclustersPerCluster; i++) {
    const std::uint64_t offset = (guest_cluster << shape_.cluster_bits) + i * bytes;
    if ((allocated >> i & 1) != 0) {
      std::ranges::fill(host.subspan(i * bytes, bytes), fill);
      show(offset, std::vector<std::byte>(bytes, fill));
    } else if ((zero >> i & 1) != 0) {
      show(offset, std::vector<std::byte>(bytes));
    }
  }
  set_entry(guest_cluster, {.descriptor = descriptor, .subclusters = std::uint64_t{zero} << 32 | allocated});
}

// Everything that the L1 table refers to gets another reference, and no entry says that it is the only one.
void ImageBuilder::share_tables() {
  for (std::uint64_t i = 0; i < header_.l1_entries; i++) {
    const std::uint64_t l1_at = header_.l1_offset + i * 8;
    const std::uint64_t table = read_u64(l1_at) & kEntryOffsetMask;
    if (table == 0) continue;
    write_u64(l1_at, table);
    refcounts_[geometry_.cluster_of(table)]++;
    for (std::uint64_t k = 0; k < geometry_.l2_entries(); k++) {
      const std::uint64_t at = table + k * geometry_.l2_entry_bytes();
      const L2Entry old{.descriptor = read_u64(at)};
      const ClusterPlace place = place_of(geometry_, old);
      if (place.has_host_cluster || place.kind == ClusterKind::kCompressed) {
        refcounts_[geometry_.cluster_of(place.host_offset)]++;
      }
      if (place.kind != ClusterKind::kCompressed) write_u64(at, old.descriptor & ~kEntryCopied);
    }
  }
}

void ImageBuilder::add_snapshot(std::string id, std::string name) {
  const std::uint64_t bytes = std::uint64_t{header_.l1_entries} * 8;
  const std::uint64_t l1 = allocate_many(divided_up(std::max<std::uint64_t>(bytes, 8), header_.cluster_bytes()));
  share_tables();
  std::copy_n(file_.begin() + static_cast<std::ptrdiff_t>(header_.l1_offset), bytes,
              file_.begin() + static_cast<std::ptrdiff_t>(l1));
  snapshots_.push_back({.l1_offset = l1,
                        .l1_entries = header_.l1_entries,
                        .id = std::move(id),
                        .name = std::move(name),
                        .date_seconds = 1'000'000'000,
                        .disk_bytes = header_.disk_bytes()});
}

void ImageBuilder::add_bitmap(std::string name, bool all_ones) {
  const std::uint64_t bits = divided_up(shape_.size_bytes, 1u << kBitmapGranularityBits);
  const std::uint64_t entries = std::max<std::uint64_t>(1, divided_up(divided_up(bits, 8), header_.cluster_bytes()));
  const std::uint64_t table = allocate_many(divided_up(entries * 8, header_.cluster_bytes()));
  for (std::uint64_t i = 0; i < entries; i++) write_u64(table + i * 8, all_ones ? kBitmapEntryAllOnes : 0);
  bitmaps_.push_back({.table_offset = table,
                      .table_entries = static_cast<std::uint32_t>(entries),
                      .flags = kBitmapAuto,
                      .granularity_bits = kBitmapGranularityBits,
                      .name = std::move(name)});
}

void ImageBuilder::write_refcounts() {
  const std::uint64_t per_block = geometry_.refcount_block_entries();
  const std::uint64_t used = refcounts_.size();
  std::uint64_t blocks = 0;
  std::uint64_t table_clusters = 0;
  while (true) {  // the refcounts of the refcounts count too
    const std::uint64_t all = used + blocks + table_clusters;
    const std::uint64_t needed_blocks = divided_up(all, per_block);
    const std::uint64_t needed_clusters =
        std::max<std::uint64_t>(1, divided_up(needed_blocks * 8, header_.cluster_bytes()));
    if (needed_blocks == blocks && needed_clusters == table_clusters) break;
    blocks = needed_blocks;
    table_clusters = needed_clusters;
  }
  const std::uint64_t table = allocate_many(table_clusters);
  const std::uint64_t first_block = allocate_many(blocks);
  for (std::uint64_t i = 0; i < blocks; i++) write_u64(table + i * 8, first_block + i * header_.cluster_bytes());
  for (std::uint64_t i = 0; i < refcounts_.size(); i++) {
    put_refcount(cluster_at(first_block + i / per_block * header_.cluster_bytes()), header_.refcount_order,
                 i % per_block, refcounts_[i]);
  }
  header_.refcount_table_offset = table;
  header_.refcount_table_clusters = static_cast<std::uint32_t>(table_clusters);
}

std::vector<std::byte> ImageBuilder::build() {
  if (!snapshots_.empty()) {
    const std::vector<std::byte> table = encode_snapshot_table(snapshots_);
    header_.snapshots = static_cast<std::uint32_t>(snapshots_.size());
    header_.snapshots_offset = allocate_many(divided_up(table.size(), header_.cluster_bytes()));
    std::ranges::copy(table, file_.begin() + static_cast<std::ptrdiff_t>(header_.snapshots_offset));
  }
  if (!bitmaps_.empty()) {
    const std::vector<std::byte> directory = encode_bitmap_directory(bitmaps_);
    const std::uint64_t offset = allocate_many(divided_up(directory.size(), header_.cluster_bytes()));
    std::ranges::copy(directory, file_.begin() + static_cast<std::ptrdiff_t>(offset));
    extensions_.set_bitmaps({.bitmaps = static_cast<std::uint32_t>(bitmaps_.size()),
                             .directory_bytes = directory.size(),
                             .directory_offset = offset});
    header_.autoclear_features |= kAutoclearBitmaps;
  }
  write_refcounts();
  const auto begin = encode_file_begin(header_, extensions_, shape_.backing_name);
  assert(begin);
  std::ranges::copy(*begin, file_.begin());
  return file_;
}

std::vector<std::byte> ImageBuilder::disk(std::span<const std::byte> backing) const {
  std::vector<std::byte> result = shown_;
  for (std::size_t i = 0; i < result.size() && i < backing.size(); i++) {
    if (!is_shown_[i]) result[i] = backing[i];
  }
  return result;
}

}  // namespace blockexport::drivers::qcow2
