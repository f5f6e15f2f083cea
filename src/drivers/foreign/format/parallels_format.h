// The header of an image of the format of Parallels: an expandable disk of either version.
//
// Pure functions of bytes; any thread. The bytes are untrusted. Source: docs/interop/parallels.rst of QEMU; the errors
// are those of qemu-storage-daemon.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "drivers/foreign/format/block_table.h"

namespace blockexport::drivers::foreign {

inline constexpr std::size_t kParallelsHeaderBytes = 64;
// Larger clusters, and larger tables, are refused as in qemu-storage-daemon.
inline constexpr std::uint32_t kParallelsClusterSectorsMax = INT32_MAX / 513;
inline constexpr std::uint32_t kParallelsEntriesMax = INT32_MAX / 4;

struct ParallelsHeader {
  std::uint64_t disk_bytes = 0;
  std::uint64_t cluster_bytes = 0;
  std::uint32_t entries = 0;
  std::uint64_t unit_bytes = 0;        // of the number in an entry
  std::uint64_t extension_offset = 0;  // of the format extension; 0: there is none

  BlockTable table() const;
};

Result<ParallelsHeader> parse_parallels_header(std::span<const std::byte> bytes);

// The first bytes of a format extension, which has the bitmaps of the image.
inline constexpr std::size_t kParallelsExtensionMagicBytes = 8;
Result<> check_parallels_extension(std::span<const std::byte> bytes);

bool is_parallels(std::span<const std::byte> bytes);

}  // namespace blockexport::drivers::foreign
