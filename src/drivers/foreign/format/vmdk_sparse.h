// The header of a sparse extent of the format VMDK: hosted ("KDMV"), with its footer, or of an older ESX server
// ("COWD").
//
// Pure functions of bytes; any thread. The bytes are untrusted. Source: "Virtual Disk Format 1.1" of VMware, "Hosted
// Sparse Extents" and "ESX Server Sparse Extents"; the errors are those of qemu-storage-daemon.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "drivers/foreign/format/block_table.h"

namespace blockexport::drivers::foreign {

inline constexpr std::size_t kVmdkHeaderBytes = 512;
// A footer marker, the footer, and a marker of the end of the stream.
inline constexpr std::size_t kVmdkFooterBytes = 3 * 512;
// A larger grain directory is refused, because it is in memory while the image is open: 128 TiB with usual grains.
inline constexpr std::uint64_t kVmdkDirectoryBytesMax = 16u << 20;
inline constexpr std::uint64_t kVmdkGrainSectorsMax = 0x200000;
// A compressed grain is decompressed in memory.
inline constexpr std::uint64_t kVmdkCompressedGrainBytesMax = 4u << 20;
inline constexpr std::uint32_t kVmdkTableEntriesMax = 512;  // of a hosted extent
inline constexpr std::uint32_t kVmfsTableEntries = 4096;    // of an ESX server

enum class VmdkMagic : std::uint8_t { kNone, kHosted, kEsx };

struct VmdkSparseHeader {
  std::uint64_t capacity_sectors = 0;  // 0: the descriptor has the extents, and nothing else here counts
  std::uint64_t descriptor_sector = 0;
  std::uint64_t grain_sectors = 0;
  std::uint64_t directory_offset = 0;  // in bytes
  std::uint64_t directory_entries = 0;
  std::uint64_t grain_offset = 0;  // of the first grain: the file is at least as long
  std::uint32_t entries_per_table = 0;
  std::uint32_t version = 0;
  bool has_footer = false;  // which has the place of the grain directory
  bool is_compressed = false;
  bool has_markers = false;
  bool has_zero_grains = false;

  // Without the places of the grain tables.
  BlockTable table() const;
};

VmdkMagic vmdk_magic(std::span<const std::byte> bytes);

// Reads the fields; check_vmdk_header() checks them. `bytes`: kVmdkHeaderBytes, with the magic of a hosted extent.
VmdkSparseHeader read_vmdk_header(std::span<const std::byte> bytes);
// The header in the footer. `bytes`: the last kVmdkFooterBytes of the file.
Result<VmdkSparseHeader> parse_vmdk_footer(std::span<const std::byte> bytes);
// The number of entries of the grain directory follows from the others.
Result<> check_vmdk_header(VmdkSparseHeader& header, std::uint64_t file_bytes);

// The header of an extent of an ESX server.
Result<VmdkSparseHeader> parse_vmfs_header(std::span<const std::byte> bytes);

// The places of the grain tables, in bytes, from the grain directory.
std::vector<std::uint64_t> parse_grain_directory(std::span<const std::byte> bytes);

}  // namespace blockexport::drivers::foreign
