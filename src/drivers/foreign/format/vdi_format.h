// The header of an image of the format VDI, version 1.1, of VirtualBox.
//
// Pure functions of bytes; any thread. The bytes are untrusted. Source: "Virtual Disk Image" of VirtualBox, as
// block/vdi.c of QEMU reads it; the errors are those of qemu-storage-daemon.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "drivers/foreign/format/block_table.h"

namespace blockexport::drivers::foreign {

inline constexpr std::size_t kVdiHeaderBytes = 512;
inline constexpr std::uint64_t kVdiBlockBytes = 1u << 20;
inline constexpr std::uint32_t kVdiBlocksMax = 0x1fffff80;
inline constexpr std::uint64_t kVdiDiskBytesMax = std::uint64_t{kVdiBlocksMax} * kVdiBlockBytes;

struct VdiHeader {
  std::uint64_t disk_bytes = 0;
  std::uint32_t table_offset = 0;
  std::uint32_t data_offset = 0;
  std::uint32_t block_count = 0;
  bool is_static = false;  // all blocks were allocated when it was made, so that the file tells what is a hole

  BlockTable table() const;
};

// `bytes`: the begin of the file, padded with zeros to kVdiHeaderBytes.
Result<VdiHeader> parse_vdi_header(std::span<const std::byte> bytes);

// Returns true if an image of the format begins with these bytes.
bool is_vdi(std::span<const std::byte> bytes);

}  // namespace blockexport::drivers::foreign
