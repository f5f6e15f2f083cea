// SnapshotTable: the table of the internal snapshots of a qcow2 image, as bytes and as values.
//
// Pure functions over any bytes, with bounded counts and lengths, and the texts of qemu-storage-daemon. Extra data that
// this program does not know stays as it is. Plain values; any thread.
// Source: docs/interop/qcow2.rst of QEMU, "Snapshots".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "drivers/qcow2/format/header.h"

namespace blockexport::drivers::qcow2 {

inline constexpr std::uint64_t kSnapshotTableBytesMax = std::uint64_t{kSnapshotsMax} * 1024;
inline constexpr std::uint32_t kSnapshotExtraBytesMax = 1024;
// Value of Snapshot::instruction_count when there is none.
inline constexpr std::uint64_t kNoInstructionCount = UINT64_MAX;

struct Snapshot {
  std::uint64_t l1_offset = 0;
  std::uint32_t l1_entries = 0;
  std::string id = {};             // unique in the image
  std::string name = {};           // both may contain any bytes
  std::uint32_t date_seconds = 0;  // since the Epoch
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_ns = 0;     // time that the guest had run
  std::uint64_t vm_state_bytes = 0;  // behind the disk's own clusters; 0: none
  std::uint64_t disk_bytes = 0;
  std::uint64_t instruction_count = kNoInstructionCount;  // of record and replay
  std::uint32_t extra_bytes = 24;                         // of all extra data as it stands in the image
  std::vector<std::byte> unknown_extra = {};              // what follows the known fields

  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

struct SnapshotTable {
  std::vector<Snapshot> snapshots = {};
  std::uint64_t table_bytes = 0;  // length of the table in the file

  friend bool operator==(const SnapshotTable&, const SnapshotTable&) = default;
};

// Number of bytes that the table has at least, and may have at most; for who reads it.
std::uint64_t snapshot_table_bytes_min(const Header& header);
std::uint64_t snapshot_table_bytes_max(const Header& header);

// True if `bytes` is long enough to contain the whole table. Otherwise the caller reads more, up to the maximum above.
bool has_whole_snapshot_table(const Header& header, std::span<const std::byte> bytes);

// `bytes`: from header.snapshots_offset on, the whole table and perhaps more.
Result<SnapshotTable> parse_snapshot_table(const Header& header, std::span<const std::byte> bytes);

// Each entry gets its `extra_bytes`. The lengths must be those of parsed or otherwise checked entries.
std::vector<std::byte> encode_snapshot_table(std::span<const Snapshot> snapshots);

}  // namespace blockexport::drivers::qcow2
