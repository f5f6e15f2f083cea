// BitmapDirectory: the directory of the persistent bitmaps of a qcow2 image, as bytes and as values.
//
// For listing the bitmaps and for keeping them intact. Pure functions over any bytes, with bounded counts and lengths,
// and the texts of qemu-storage-daemon. Plain values; any thread.
// Source: docs/interop/qcow2.rst of QEMU, "Bitmaps", "Bitmap directory", "Bitmap table".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"

namespace blockexport::drivers::qcow2 {

inline constexpr std::size_t kBitmapNameBytesMax = 1023;
inline constexpr unsigned kBitmapGranularityBitsMin = 9;
inline constexpr unsigned kBitmapGranularityBitsMax = 31;
inline constexpr std::uint32_t kBitmapTableEntriesMax = 0x8000000;
inline constexpr std::uint64_t kBitmapDataBytesMax = 512u << 20;

// Bits of StoredBitmap::flags.
inline constexpr std::uint32_t kBitmapInUse = 1u << 0;  // it was not saved, and is inconsistent
inline constexpr std::uint32_t kBitmapAuto = 1u << 1;   // it records changes
inline constexpr std::uint32_t kBitmapKnownFlags = 3;

struct StoredBitmap {
  std::uint64_t table_offset = 0;
  std::uint32_t table_entries = 0;  // at least 1
  std::uint32_t flags = 0;
  std::uint8_t granularity_bits = 16;
  std::string name = {};  // any bytes

  friend bool operator==(const StoredBitmap&, const StoredBitmap&) = default;
};

// `bytes`: the whole directory, of extension.directory_bytes.
Result<std::vector<StoredBitmap>> parse_bitmap_directory(const Header& header, const BitmapsExtension& extension,
                                                         std::span<const std::byte> bytes);

std::vector<std::byte> encode_bitmap_directory(std::span<const StoredBitmap> bitmaps);

// An entry of a bitmap table: the host offset of a cluster of bits; 0: all of its bits are equal.
inline constexpr std::uint64_t kBitmapEntryOffsetMask = 0x00ff'ffff'ffff'fe00;
inline constexpr std::uint64_t kBitmapEntryAllOnes = 1;
// True if reserved bits are 0 and the offset is at a cluster boundary.
bool is_valid_bitmap_entry(const Geometry& geometry, std::uint64_t entry);

}  // namespace blockexport::drivers::qcow2
