// The structures of an image of the format VHDX of Microsoft: headers, the region table, metadata, and log entries.
//
// Pure functions of bytes; any thread. The bytes are untrusted. Source: "[MS-VHDX]: Virtual Hard Disk v2", whose
// sections the comments name; the errors are those of qemu-storage-daemon: mostly a number, with which a parser fails
// here too.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <vector>

#include "base/errno.h"
#include "block/range.h"
#include "drivers/foreign/format/block_table.h"

namespace blockexport::drivers::foreign {

inline constexpr std::uint64_t kVhdxHeaderBytes = 4096;
inline constexpr std::array<std::uint64_t, 2> kVhdxHeaderOffsets = {64u << 10, 128u << 10};
inline constexpr std::uint64_t kVhdxRegionTableOffset = 192u << 10;
inline constexpr std::uint64_t kVhdxTableBytes = 64u << 10;  // of the region table, and of the metadata table
inline constexpr std::uint32_t kVhdxEntriesMax = 2047;       // of either
inline constexpr std::uint64_t kVhdxBlockBytesMin = 1u << 20;
inline constexpr std::uint64_t kVhdxBlockBytesMax = 256u << 20;
inline constexpr std::uint64_t kVhdxDiskBytesMax = std::uint64_t{64} << 40;
// A longer log is refused, because all of it is read when the image is opened.
inline constexpr std::uint64_t kVhdxLogBytesMax = 16u << 20;
// Of the block allocation table, which is checked when the image is opened; what follows is checked when it is used.
inline constexpr std::uint64_t kVhdxCheckedTableBytesMax = 64u << 20;
inline constexpr std::uint64_t kVhdxLogSectorBytes = 4096;

using Guid = std::array<std::byte, 16>;

bool is_vhdx(std::span<const std::byte> bytes);

// Section 2.2.2.
struct VhdxHeader {
  std::uint64_t sequence = 0;
  Guid log_guid = {};
  std::uint16_t log_version = 0;
  std::uint32_t log_bytes = 0;
  std::uint64_t log_offset = 0;

  bool has_log() const { return log_guid != Guid{}; }
  block::Range log() const { return {log_offset, log_bytes}; }
};

// The newer one of the two headers, each kVhdxHeaderBytes long; nothing: neither is valid, or nobody can tell.
std::optional<VhdxHeader> choose_vhdx_header(std::span<const std::byte> first, std::span<const std::byte> second);

// EINVAL: the place of the log is wrong.
IoResult check_vhdx_log(const VhdxHeader& header);

// Returns true if `log` has a valid entry that is to be replayed. Section 2.3.1.
bool has_vhdx_log_entry(const VhdxHeader& header, std::span<const std::byte> log);

// Section 2.2.3.
struct VhdxRegions {
  block::Range table;  // with the places of blocks
  block::Range metadata;
  std::vector<block::Range> all;  // that blocks must not touch
};

// `bytes`: kVhdxTableBytes. EINVAL, or ENOTSUP for an unknown region that is required.
std::expected<VhdxRegions, Errno> parse_vhdx_regions(const VhdxHeader& header, std::span<const std::byte> bytes);

// Section 2.6.
struct VhdxItem {
  std::uint32_t offset = 0;  // in the region of metadata
};
struct VhdxItems {
  VhdxItem parameters;
  VhdxItem disk_size;
  VhdxItem sector_size;
};

// `bytes`: kVhdxTableBytes, the begin of the region of metadata.
std::expected<VhdxItems, Errno> parse_vhdx_items(std::span<const std::byte> bytes);

struct VhdxDisk {
  std::uint64_t disk_bytes = 0;
  std::uint64_t block_bytes = 0;

  BlockTable table(const VhdxRegions& regions) const;
};

// The items, 8 bytes of each. EINVAL, or ENOTSUP for sectors that are not of 512 bytes.
std::expected<VhdxDisk, Errno> parse_vhdx_disk(std::span<const std::byte> parameters,
                                               std::span<const std::byte> disk_size,
                                               std::span<const std::byte> sector_size);

// Fails with EINVAL unless the table fits its region.
IoResult check_vhdx_table(const BlockTable& table, const VhdxRegions& regions);

// Returns true if data of a block lie in the file, and in no region. `bytes`: of the disk in the block.
bool is_vhdx_block_valid(const VhdxRegions& regions, std::uint64_t offset, std::uint64_t block_bytes,
                         std::uint64_t bytes, std::uint64_t file_bytes);

}  // namespace blockexport::drivers::foreign
