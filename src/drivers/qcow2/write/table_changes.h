// Changes of L1 and L2 entries of an open qcow2 image. Thread: any; the caller holds the clusters in
// ImageParts::changes.
#pragma once

#include <span>

#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// Waits until the L2 table of a guest cluster is not frozen by a snapshot that is being taken. To be called before the
// entries are read that are to change.
aio::Task<void> thaw_table(ImageParts& parts, std::uint64_t guest_cluster);

// The same, and makes the L2 table of a guest cluster exist, and belong to the active L1 table alone.
aio::Task<IoResult> make_table_writable(ImageParts& parts, std::uint64_t guest_cluster);

// Sets the entries of consecutive guest clusters of one slice, whose table is writable, and adds `freed` to the freed
// clusters in the same step.
aio::Task<IoResult> set_entries(ImageParts& parts, std::uint64_t first_cluster, std::span<const L2Entry> entries,
                                std::span<const FreedRun> freed);

// The host clusters that `entry` refers to; count 0: none.
HostClusters clusters_of(const Geometry& geometry, const L2Entry& entry);

}  // namespace blockexport::drivers::qcow2
