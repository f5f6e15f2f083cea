// Changes of a qcow2 image's snapshot table, and of the disk to the state of a snapshot: each takes effect in the image
// with one write of its header. Thread: the control reactor, one call at a time.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/snapshot_table.h"
#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// Writes an L1 table of that many entries, offsets or 0, to new clusters, and returns their offset; 0 for none. The
// refcounts are durable with the next commit. The clusters have to be given back if the table is not used.
aio::Task<std::expected<std::uint64_t, Errno>> write_snapshot_l1(ImageParts& parts, std::span<const std::uint64_t> l1);

// The L1 table of a snapshot: offsets of L2 tables or 0. EIO: it refers to what is no cluster, or lies outside of what
// the format allows.
aio::Task<std::expected<std::vector<std::uint64_t>, Errno>> read_snapshot_l1(ImageParts& parts,
                                                                             const Snapshot& snapshot);

// Makes `snapshots` those of the image, durably. `header` and `table` are those of the image, and get the new values.
// An error: the image has the former ones, or, if `is_certain` becomes false, either of both: then nothing that one of
// them needs may be given up. EFBIG: the table would be too long.
aio::Task<IoResult> write_snapshot_table(ImageParts& parts, std::vector<Snapshot> snapshots, Header& header,
                                         SnapshotTable& table, bool& is_certain);

// Makes the state of a snapshot with that L1 table, and that size, the one of the disk, while no request is under way.
// The image has it when this returns, and the tables in memory are those of the state before: the caller reads the
// image again, and releases the state before. An error: the disk stays as it is, and clusters may be leaked.
aio::Task<IoResult> apply_snapshot(ImageParts& parts, std::vector<std::uint64_t> l1, std::uint64_t disk_bytes,
                                   const Header& header);

// Gives up the clusters of a table of so many bytes. Under the lock of the tables.
void free_clusters(ImageParts& parts, std::uint64_t offset, std::uint64_t bytes);

}  // namespace blockexport::drivers::qcow2
