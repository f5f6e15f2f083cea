// Header: the header of a qcow2 image, as bytes and as values that were checked.
//
// Pure functions without I/O. parse_header() takes any bytes, checks every field that it returns against a named limit,
// and refuses with the texts and in the order of qemu-storage-daemon.
// Plain values; any thread. Source: docs/interop/qcow2.rst of QEMU, "Header", "Additional fields".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "drivers/qcow2/format/geometry.h"

namespace blockexport::drivers::qcow2 {

inline constexpr std::uint32_t kMagic = 0x514649fb;  // "QFI\xfb"
inline constexpr std::uint32_t kHeaderBytesVersion2 = 72;
inline constexpr std::uint32_t kHeaderBytesVersion3Min = 104;
// The length that writers give the header: with the type of compression, and padded to a multiple of 8.
inline constexpr std::uint32_t kHeaderBytesVersion3 = 112;
inline constexpr std::size_t kBackingNameBytesMax = 1023;
inline constexpr std::uint32_t kSnapshotsMax = 65536;
inline constexpr unsigned kSectorBytes = 512;  // the size of a disk counts in whole sectors

// Bits of Header::incompatible_features.
inline constexpr std::uint64_t kIncompatibleDirty = 1u << 0;
inline constexpr std::uint64_t kIncompatibleCorrupt = 1u << 1;
inline constexpr std::uint64_t kIncompatibleDataFile = 1u << 2;
inline constexpr std::uint64_t kIncompatibleCompression = 1u << 3;
inline constexpr std::uint64_t kIncompatibleExtendedL2 = 1u << 4;
inline constexpr std::uint64_t kIncompatibleKnown = (1u << 5) - 1;
// Bit of Header::compatible_features.
inline constexpr std::uint64_t kCompatibleLazyRefcounts = 1u << 0;
// Bits of Header::autoclear_features.
inline constexpr std::uint64_t kAutoclearBitmaps = 1u << 0;
inline constexpr std::uint64_t kAutoclearRawDataFile = 1u << 1;
inline constexpr std::uint64_t kAutoclearKnown = (1u << 2) - 1;
// The session of a bitmap store beside the image (docs/qcow2.md), as a number in bits that the format reserves: a
// program that changes the image without the store clears them first, because it does not know them.
inline constexpr unsigned kAutoclearSessionShift = 32;
inline constexpr std::uint64_t kAutoclearSession = std::uint64_t{UINT32_MAX} << kAutoclearSessionShift;

// Values of Header::encryption_method.
inline constexpr std::uint32_t kEncryptionNone = 0;
inline constexpr std::uint32_t kEncryptionAes = 1;
inline constexpr std::uint32_t kEncryptionLuks = 2;

enum class CompressionType : std::uint8_t {
  kZlib = 0,  // raw deflate
  kZstd = 1,
};

struct Header {
  std::uint32_t version = 3;
  std::uint64_t backing_name_offset = 0;  // in the file; 0: no backing file
  std::uint32_t backing_name_bytes = 0;
  std::uint32_t cluster_bits = 16;
  std::uint64_t size_bytes = 0;  // of the disk, as it stands in the header; see disk_bytes()
  std::uint32_t encryption_method = kEncryptionNone;
  std::uint32_t l1_entries = 0;
  std::uint64_t l1_offset = 0;
  std::uint64_t refcount_table_offset = 0;
  std::uint32_t refcount_table_clusters = 0;
  std::uint32_t snapshots = 0;
  std::uint64_t snapshots_offset = 0;
  // Version 2 has none of the following fields, and the values given here.
  std::uint64_t incompatible_features = 0;
  std::uint64_t compatible_features = 0;
  std::uint64_t autoclear_features = 0;
  std::uint32_t refcount_order = 4;
  std::uint32_t header_bytes = kHeaderBytesVersion3;
  CompressionType compression_type = CompressionType::kZlib;
  // Fields of later versions of the format, from byte 105 to header_bytes. A writer keeps them.
  std::vector<std::byte> later_fields = {};

  std::uint64_t cluster_bytes() const { return std::uint64_t{1} << cluster_bits; }
  // A last sector that is not whole does not belong to the disk.
  std::uint64_t disk_bytes() const { return size_bytes - size_bytes % kSectorBytes; }
  // The end of the area of the extensions, which begins behind the header.
  std::uint64_t extensions_end() const { return backing_name_offset != 0 ? backing_name_offset : cluster_bytes(); }
  bool is_dirty() const { return (incompatible_features & kIncompatibleDirty) != 0; }
  bool is_corrupt() const { return (incompatible_features & kIncompatibleCorrupt) != 0; }
  bool has_data_file() const { return (incompatible_features & kIncompatibleDataFile) != 0; }
  bool has_raw_data_file() const { return (autoclear_features & kAutoclearRawDataFile) != 0; }
  // 0: none.
  std::uint32_t store_session() const {
    return static_cast<std::uint32_t>(autoclear_features >> kAutoclearSessionShift);
  }
  bool has_extended_l2() const { return (incompatible_features & kIncompatibleExtendedL2) != 0; }
  bool has_lazy_refcounts() const { return (compatible_features & kCompatibleLazyRefcounts) != 0; }
  // For a checked header.
  Geometry geometry() const;

  friend bool operator==(const Header&, const Header&) = default;
};

enum class HeaderUse : std::uint8_t {
  kRead,
  kReadWrite,  // refuses an image that is marked as corrupt
  kCheck,      // accepts an image without refcounts, and does not check where snapshots are
};

// The size of the image's clusters, from the begin of the file. Bytes that `file_begin` lacks count as zeros. For who
// reads the first cluster, which parse_header() wants. The error is the first one of parse_header().
Result<std::uint64_t> parse_cluster_bytes(std::span<const std::byte> file_begin);

// `first_cluster`: the first cluster of the file; bytes that it lacks count as zeros. It does not check the extensions,
// the name of the backing file and the method of encryption: see parse_header_extensions(), parse_backing_name(),
// check_encryption().
Result<Header> parse_header(std::span<const std::byte> first_cluster, HeaderUse use);

// The header alone, of header_bytes. The header must be one that parse_header() accepts.
std::vector<std::byte> encode_header(const Header& header);

// The name of the backing file as it stands in the image; nullopt: the header has none. Ends at the first zero byte.
Result<std::optional<std::string>> parse_backing_name(const Header& header, std::span<const std::byte> first_cluster);

// Fails for methods that this program does not know, and for another one than the options name. `wanted_format`: the
// member `format` of the node option `encrypt`, or empty when the option is not given.
Result<> check_encryption(const Header& header, std::string_view wanted_format);

// Fails unless a table of `entries` entries of `entry_bytes` each lies in the file as the format demands: at a cluster
// boundary, at most `table_bytes_max` long, and below 2^63. `name` begins the message.
Result<> check_table(const Geometry& geometry, std::string_view name, std::uint64_t offset, std::uint64_t entries,
                     std::uint64_t entry_bytes, std::uint64_t table_bytes_max);

}  // namespace blockexport::drivers::qcow2
