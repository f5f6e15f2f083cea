// Bitmap data of a qcow2 image: dirty bits as the bytes of clusters, and the entries of the table that lists these.
//
// Pure functions. The bits of one bitmap are cut into clusters; the table has an entry for each, which says that all
// bits of the cluster are equal, or where it is. Thread: the one that may use the dirty bits.
// Source: docs/interop/qcow2.rst of QEMU, "Bitmap table", "Bitmap data".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "block/bitmap/dirty_bits.h"
#include "drivers/qcow2/format/bitmap_directory.h"

namespace blockexport::drivers::qcow2 {

// Bytes of all bits of a bitmap for a disk of that size, in whole words of 64 bits.
std::uint64_t bitmap_bytes(std::uint64_t disk_bytes, unsigned granularity_bits);
// Number of clusters that they need, and of entries of the table.
std::uint64_t bitmap_clusters(const Geometry& geometry, std::uint64_t disk_bytes, unsigned granularity_bits);

// log2 of the granularity.
unsigned granularity_bits_of(const block::DirtyBits& bits);

// The bytes of the disk whose bits are in the cluster of that number, cut to the disk.
block::Range bits_range(const Geometry& geometry, const block::DirtyBits& bits, std::uint64_t cluster);

// Marks what is set in the bytes of the clusters from `cluster` on. Bits behind the end of the disk are ignored.
void mark_clusters(const Geometry& geometry, block::DirtyBits& bits, std::uint64_t cluster,
                   std::span<const std::byte> bytes);

enum class ClusterBits : std::uint8_t { kAllZeros, kAllOnes, kMixed };
ClusterBits kind_of_cluster(const Geometry& geometry, const block::DirtyBits& bits, std::uint64_t cluster);

// The bytes of the clusters from `cluster` on, as many as `bytes` has; bits behind the end of the disk are 0. `bytes`:
// aligned for words of 64 bits.
void copy_clusters(const Geometry& geometry, const block::DirtyBits& bits, std::uint64_t cluster,
                   std::span<std::byte> bytes);

}  // namespace blockexport::drivers::qcow2
