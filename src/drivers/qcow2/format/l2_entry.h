// L2Entry: the entry of an L2 table, which says where a guest cluster is; its encoding, and that of L1 entries.
//
// Plain values in the byte order of the host; any thread. Source: docs/interop/qcow2.rst of QEMU, "L1 table, L2 table",
// "Standard Cluster Descriptor", "Compressed Clusters Descriptor", "Extended L2 Entries".
#pragma once

#include <cstdint>
#include <optional>

#include "drivers/qcow2/format/geometry.h"

namespace blockexport::drivers::qcow2 {

// The refcount of the cluster is exactly one, so that it may be overwritten in place.
inline constexpr std::uint64_t kEntryCopied = std::uint64_t{1} << 63;
inline constexpr std::uint64_t kEntryCompressed = std::uint64_t{1} << 62;
inline constexpr std::uint64_t kEntryZero = 1;
inline constexpr std::uint64_t kEntryOffsetMask = 0x00ff'ffff'ffff'fe00;

// One entry as it stands in the table. `subclusters` is 0 in an image without extended L2 entries.
struct L2Entry {
  std::uint64_t descriptor = 0;
  std::uint64_t subclusters = 0;  // bit s: subcluster s is allocated; bit 32 + s: it reads as zeros

  friend bool operator==(const L2Entry&, const L2Entry&) = default;
};

enum class ClusterKind : std::uint8_t {
  kUnallocated,  // the backing file has it, or it reads as zeros
  kZero,         // reads as zeros; a host cluster may be reserved for it
  kData,         // in a host cluster
  kCompressed,   // in bytes of host clusters, compressed
  kInvalid,      // the image is corrupt
};

// Decoded fields of an entry, apart from subclusters.
struct ClusterPlace {
  ClusterKind kind = ClusterKind::kUnallocated;
  bool copied = false;
  // There is a host cluster: always for kData, never for kCompressed and kInvalid. With extended L2 entries kind is
  // kData when there is one and kUnallocated otherwise; the state of each subcluster counts then.
  bool has_host_cluster = false;
  std::uint64_t host_offset = 0;       // of the host cluster, or the first compressed byte
  std::uint64_t compressed_bytes = 0;  // upper limit, up to the end of the last sector; kCompressed only

  friend bool operator==(const ClusterPlace&, const ClusterPlace&) = default;
};

// kInvalid: the offset is not aligned to a cluster, or the two kinds of bits contradict each other.
ClusterPlace place_of(const Geometry& geometry, const L2Entry& entry);

// State of one subcluster of an entry with extended bits; in an image without them, of the whole cluster. kInvalid:
// allocated and zero at once, or allocated without a host cluster.
ClusterKind subcluster_kind(const Geometry& geometry, const L2Entry& entry, unsigned subcluster);

// Number of further subclusters from `subcluster` that have the same kind; at least 1. 1 in an image without them.
unsigned subcluster_run(const Geometry& geometry, const L2Entry& entry, unsigned subcluster);

std::uint64_t encode_data(std::uint64_t host_offset, bool copied);
// `bytes` of compressed data at `host_offset`; nullopt when they do not fit the fields.
std::optional<std::uint64_t> encode_compressed(const Geometry& geometry, std::uint64_t host_offset,
                                               std::uint64_t bytes);

// Bits of the two halves of the bitmap of subclusters.
constexpr std::uint64_t allocated_bits(unsigned first, unsigned count) {
  return ((std::uint64_t{1} << count) - 1) << first;
}
constexpr std::uint64_t zero_bits(unsigned first, unsigned count) {
  return allocated_bits(first, count) << 32;
}

}  // namespace blockexport::drivers::qcow2
