// The headers of an image of the format VHD of Microsoft Virtual PC: the footer and the dynamic disk header.
//
// Pure functions of bytes; any thread. The bytes are untrusted. Source: "Virtual Hard Disk Image Format Specification",
// version 1.0; the errors, and the size of the disk, are those of qemu-storage-daemon.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "drivers/foreign/format/block_table.h"

namespace blockexport::drivers::foreign {

inline constexpr std::size_t kVpcFooterBytes = 512;
inline constexpr std::size_t kVpcDynamicHeaderBytes = 1024;
inline constexpr std::uint64_t kVpcDiskBytesMax = std::uint64_t{0xff000000} * 512;
// A longer block allocation table is refused, because all of it is read when the image is opened.
inline constexpr std::uint64_t kVpcTableBytesMax = 64u << 20;

enum class VpcPlace : bool { kBegin, kEnd };  // of the footer, in the file

struct VpcFooter {
  std::uint64_t disk_bytes = 0;
  std::uint64_t dynamic_header_offset = 0;  // at most INT64_MAX
  // The disk's bytes are those of the file, from its begin on.
  bool is_flat = false;
  // There is a dynamic disk header.
  bool is_dynamic = false;
};

// `bytes`: kVpcFooterBytes.
bool has_vpc_cookie(std::span<const std::byte> bytes);

// A footer that has the cookie.
Result<VpcFooter> parse_vpc_footer(std::span<const std::byte> bytes, VpcPlace place);

// The table of a dynamic disk. `bytes`: kVpcDynamicHeaderBytes from dynamic_header_offset on. The block count is that
// of the whole table, which may be larger than the disk.
Result<BlockTable> parse_vpc_dynamic_header(const VpcFooter& footer, std::span<const std::byte> bytes);

// The end of the blocks that a part of the table refers to, and at least `end`.
std::uint64_t end_of_vpc_blocks(const BlockTable& table, std::span<const std::byte> part, std::uint64_t end);

// Returns true if an image of the format begins with these bytes; a fixed disk has nothing there.
bool is_vpc(std::span<const std::byte> bytes);

}  // namespace blockexport::drivers::foreign
