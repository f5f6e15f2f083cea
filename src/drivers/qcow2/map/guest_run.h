// GuestRun: consecutive guest bytes of a qcow2 image that are found in one way, and the lookup of it.
//
// A request looks up where its bytes are, and then moves them without any lock. Plain values; any thread.
#pragma once

#include <cstdint>
#include <expected>

#include "aio/task/task.h"
#include "block/range.h"
#include "drivers/qcow2/tables/image_tables.h"

namespace blockexport::drivers::qcow2 {

struct GuestRun {
  ClusterKind kind = ClusterKind::kUnallocated;  // never kInvalid
  std::uint64_t length = 0;
  // kData: of the first byte. kCompressed: of the compressed bytes of the one cluster that the run is part of.
  std::uint64_t host_offset = 0;
  std::uint64_t compressed_bytes = 0;  // kCompressed only
  // kData: its clusters may be overwritten in place. Such runs end where this changes, if the lookup is for a write.
  bool overwritable = false;

  friend bool operator==(const GuestRun&, const GuestRun&) = default;
};

enum class RunPurpose : bool { kRead, kWrite };

// A lookup examines at most this many entries; a longer run is found in parts.
inline constexpr unsigned kRunEntriesMax = 1024;

// The run at the start of `range`, which is not empty and lies in the image; at most as long as the range. EAGAIN: a
// slice of an L2 table is not in memory, for the first byte; a run ends before a later one. EIO: the entry is wrong, so
// that the image is corrupt.
std::expected<GuestRun, Errno> try_run(const ImageTables& tables, block::Range range, RunPurpose purpose);
// The same; reads the slice of the first byte if need be.
aio::Task<std::expected<GuestRun, Errno>> find_run(ImageTables& tables, block::Range range, RunPurpose purpose);

}  // namespace blockexport::drivers::qcow2
