// Qcow2Geometry: the sizes of a qcow2 image's clusters and table entries, and the arithmetic on guest and host offsets.
//
// Values of a header that was checked. Plain values; any thread. Source: docs/interop/qcow2.rst of QEMU, "Header",
// "L1 table, L2 table", "Host cluster management".
#pragma once

#include <cstdint>

namespace blockexport::drivers::qcow2 {

inline constexpr unsigned kClusterBitsMin = 9;
inline constexpr unsigned kClusterBitsMax = 21;
inline constexpr unsigned kRefcountOrderMax = 6;
inline constexpr unsigned kSubclustersPerCluster = 32;  // of an image with extended L2 entries
inline constexpr std::uint64_t kL1BytesMax = 32u << 20;
inline constexpr std::uint64_t kRefcountTableBytesMax = 8u << 20;
// L1, L2 and refcount table entries have host offsets below 2^56.
inline constexpr std::uint64_t kHostOffsetLimit = std::uint64_t{1} << 56;

struct Geometry {
  unsigned cluster_bits = 16;
  unsigned refcount_order = 4;  // a refcount has 1 << refcount_order bits
  bool extended_l2 = false;     // entries of 16 bytes, with a bitmap of subclusters
  bool zero_flag = true;        // version 3: a cluster can read as zeros without data
  bool data_file = false;       // guest data is in another file, whose clusters have no refcounts

  std::uint64_t cluster_bytes() const { return std::uint64_t{1} << cluster_bits; }
  std::uint64_t offset_in_cluster(std::uint64_t offset) const { return offset & (cluster_bytes() - 1); }
  std::uint64_t cluster_of(std::uint64_t offset) const { return offset >> cluster_bits; }
  std::uint64_t round_down(std::uint64_t offset) const { return offset & ~(cluster_bytes() - 1); }
  // For offsets below 2^63.
  std::uint64_t round_up(std::uint64_t offset) const { return round_down(offset + cluster_bytes() - 1); }

  unsigned l2_entry_bytes() const { return extended_l2 ? 16 : 8; }
  unsigned l2_bits() const { return cluster_bits - (extended_l2 ? 4 : 3); }
  // Number of guest clusters that one L2 table maps.
  std::uint64_t l2_entries() const { return std::uint64_t{1} << l2_bits(); }
  std::uint64_t l1_index(std::uint64_t guest_cluster) const { return guest_cluster >> l2_bits(); }
  std::uint64_t l2_index(std::uint64_t guest_cluster) const { return guest_cluster & (l2_entries() - 1); }
  // Number of L1 entries that an image of that size needs.
  std::uint64_t l1_entries_for(std::uint64_t size_bytes) const {
    const unsigned table_bits = cluster_bits + l2_bits();
    return (size_bytes >> table_bits) + ((size_bytes & ((std::uint64_t{1} << table_bits) - 1)) != 0 ? 1 : 0);
  }

  // The unit that is allocated or not: a subcluster, or the cluster in an image without them.
  unsigned subcluster_bits() const { return extended_l2 ? cluster_bits - 5 : cluster_bits; }
  std::uint64_t subcluster_bytes() const { return std::uint64_t{1} << subcluster_bits(); }
  unsigned subcluster_of(std::uint64_t offset) const {
    return static_cast<unsigned>(offset_in_cluster(offset) >> subcluster_bits());
  }

  // Number of refcounts in a refcount block, which fills one cluster.
  std::uint64_t refcount_block_entries() const { return std::uint64_t{1} << refcount_block_bits(); }
  unsigned refcount_block_bits() const { return cluster_bits + 3 - refcount_order; }
  std::uint64_t refcount_max() const {
    const unsigned bits = 1u << refcount_order;
    return bits == 64 ? UINT64_MAX : (std::uint64_t{1} << bits) - 1;
  }
};

}  // namespace blockexport::drivers::qcow2
