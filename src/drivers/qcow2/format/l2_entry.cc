#include "drivers/qcow2/format/l2_entry.h"

#include <bit>

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kSectorBytes = 512;
constexpr unsigned kDescriptorBits = 62;

// A compressed descriptor has the offset below this bit, and the number of further sectors from it on.
unsigned compressed_offset_bits(const Geometry& geometry) {
  return kDescriptorBits - (geometry.cluster_bits - 8);
}

ClusterPlace compressed_place(const Geometry& geometry, std::uint64_t descriptor) {
  const unsigned offset_bits = compressed_offset_bits(geometry);
  const std::uint64_t fields = descriptor & (kEntryCompressed - 1);
  const std::uint64_t offset = fields & ((std::uint64_t{1} << offset_bits) - 1);
  const std::uint64_t sectors = (fields >> offset_bits) + 1;
  // A cluster of an external data file is never compressed.
  if (geometry.data_file || offset >= kHostOffsetLimit) return {.kind = ClusterKind::kInvalid};
  return {.kind = ClusterKind::kCompressed,
          .host_offset = offset,
          .compressed_bytes = sectors * kSectorBytes - offset % kSectorBytes};
}

}  // namespace

ClusterPlace place_of(const Geometry& geometry, const L2Entry& entry) {
  if ((entry.descriptor & kEntryCompressed) != 0) return compressed_place(geometry, entry.descriptor);
  const std::uint64_t offset = entry.descriptor & kEntryOffsetMask;
  const bool copied = (entry.descriptor & kEntryCopied) != 0;
  // Offset 0 is the image's header, so that it means "none", except in an external data file, where COPIED tells.
  const bool has_host_cluster = offset != 0 || (geometry.data_file && copied);
  if (geometry.offset_in_cluster(offset) != 0) return {.kind = ClusterKind::kInvalid};
  ClusterPlace place{.kind = has_host_cluster ? ClusterKind::kData : ClusterKind::kUnallocated,
                     .copied = copied && has_host_cluster,
                     .has_host_cluster = has_host_cluster,
                     .host_offset = offset};
  const bool is_zero = !geometry.extended_l2 && geometry.zero_flag && (entry.descriptor & kEntryZero) != 0;
  if (is_zero) place.kind = ClusterKind::kZero;
  return place;
}

ClusterKind subcluster_kind(const Geometry& geometry, const L2Entry& entry, unsigned subcluster) {
  const ClusterPlace place = place_of(geometry, entry);
  if (!geometry.extended_l2 || place.kind == ClusterKind::kInvalid) return place.kind;
  if (place.kind == ClusterKind::kCompressed) return entry.subclusters == 0 ? place.kind : ClusterKind::kInvalid;
  const bool allocated = (entry.subclusters >> subcluster & 1) != 0;
  const bool zero = (entry.subclusters >> (kSubclustersPerCluster + subcluster) & 1) != 0;
  if (allocated && (zero || !place.has_host_cluster)) return ClusterKind::kInvalid;
  if (allocated) return ClusterKind::kData;
  return zero ? ClusterKind::kZero : ClusterKind::kUnallocated;
}

unsigned subcluster_run(const Geometry& geometry, const L2Entry& entry, unsigned subcluster) {
  if (!geometry.extended_l2) return 1;
  if ((entry.descriptor & kEntryCompressed) != 0) return kSubclustersPerCluster - subcluster;
  const auto allocated = static_cast<std::uint32_t>(entry.subclusters) >> subcluster;
  const auto zero = static_cast<std::uint32_t>(entry.subclusters >> kSubclustersPerCluster) >> subcluster;
  const int same_allocated = (allocated & 1) != 0 ? std::countr_one(allocated) : std::countr_zero(allocated);
  const int same_zero = (zero & 1) != 0 ? std::countr_one(zero) : std::countr_zero(zero);
  const auto same = static_cast<unsigned>(same_allocated < same_zero ? same_allocated : same_zero);
  const unsigned left = kSubclustersPerCluster - subcluster;
  return same < left ? same : left;
}

std::uint64_t encode_data(std::uint64_t host_offset, bool copied) {
  return (host_offset & kEntryOffsetMask) | (copied ? kEntryCopied : 0);
}

std::optional<std::uint64_t> encode_compressed(const Geometry& geometry, std::uint64_t host_offset,
                                               std::uint64_t bytes) {
  const unsigned offset_bits = compressed_offset_bits(geometry);
  const std::uint64_t last_sector = (host_offset + bytes - 1) / kSectorBytes;
  const std::uint64_t further_sectors = last_sector - host_offset / kSectorBytes;
  if (bytes == 0 || host_offset >> offset_bits != 0 || further_sectors >> (kDescriptorBits - offset_bits) != 0) {
    return std::nullopt;
  }
  return kEntryCompressed | further_sectors << offset_bits | host_offset;
}

}  // namespace blockexport::drivers::qcow2
