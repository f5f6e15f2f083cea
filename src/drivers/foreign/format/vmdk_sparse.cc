#include "drivers/foreign/format/vmdk_sparse.h"

#include <fmt/format.h>

#include <algorithm>

#include "drivers/foreign/format/fields.h"

namespace blockexport::drivers::foreign {
namespace {

constexpr std::uint32_t kHostedMagic = 0x4b444d56;  // "KDMV", big-endian
constexpr std::uint32_t kEsxMagic = 0x434f5744;     // "COWD"
constexpr std::uint64_t kSectorBytes = 512;

// "Hosted Sparse Extent Header"; integers are little-endian.
constexpr std::uint64_t kVersionAt = 4;
constexpr std::uint64_t kFlagsAt = 8;
constexpr std::uint64_t kCapacityAt = 12;
constexpr std::uint64_t kGrainSectorsAt = 20;
constexpr std::uint64_t kDescriptorAt = 28;
constexpr std::uint64_t kTableEntriesAt = 44;
constexpr std::uint64_t kDirectoryAt = 56;
constexpr std::uint64_t kGrainOffsetAt = 64;
constexpr std::uint64_t kCompressionAt = 77;

constexpr std::uint32_t kZeroGrainFlag = 1u << 2;
constexpr std::uint32_t kMarkerFlag = 1u << 17;
constexpr std::uint16_t kDeflate = 1;
constexpr std::uint32_t kVersionMax = 3;

// "Metadata Markers": a value, a length that is 0, and a type.
constexpr std::uint64_t kMarkerBytes = 512;
constexpr std::uint64_t kMarkerLengthAt = 8;
constexpr std::uint64_t kMarkerTypeAt = 12;
constexpr std::uint32_t kFooterMarker = 3;

// "ESX Server Sparse Extents".
constexpr std::uint64_t kEsxSectorsAt = 12;
constexpr std::uint64_t kEsxGrainSectorsAt = 16;
constexpr std::uint64_t kEsxDirectoryAt = 20;
constexpr std::uint64_t kEsxDirectoryEntriesAt = 24;

// Sectors that fit a node, so that a product with the size of a sector is a number of bytes.
constexpr std::uint64_t kSectorsMax = (std::uint64_t{1} << 62) / kSectorBytes;

Result<> check_sizes(const VmdkSparseHeader& header) {
  if (header.grain_sectors > kVmdkGrainSectorsMax) return fail("Invalid granularity, image may be corrupt");
  if (header.directory_entries > kVmdkDirectoryBytesMax / 4) return fail("L1 size too big");
  if (header.capacity_sectors > kSectorsMax) return fail("The extent is larger than a disk can be");
  if (header.directory_offset > INT64_MAX / 2) return fail("The grain directory lies behind the end of any file");
  return {};
}

}  // namespace

BlockTable VmdkSparseHeader::table() const {
  const std::uint64_t block_bytes = grain_sectors * kSectorBytes;
  return {.form = EntryForm::kVmdk,
          .block_bytes = block_bytes,
          .block_count = blocks_for(capacity_sectors * kSectorBytes, block_bytes),
          .unit_bytes = kSectorBytes,
          .entries_per_grain_table = entries_per_table,
          .has_zero_entries = has_zero_grains,
          .is_compressed = is_compressed,
          .has_markers = has_markers};
}

VmdkMagic vmdk_magic(std::span<const std::byte> bytes) {
  const std::uint32_t magic = Fields(bytes).be32(0);
  if (magic == kHostedMagic) return VmdkMagic::kHosted;
  return magic == kEsxMagic ? VmdkMagic::kEsx : VmdkMagic::kNone;
}

VmdkSparseHeader read_vmdk_header(std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  const std::uint32_t flags = fields.le32(kFlagsAt);
  const std::uint64_t directory = fields.le64(kDirectoryAt);
  VmdkSparseHeader header{.capacity_sectors = fields.le64(kCapacityAt),
                          .descriptor_sector = fields.le64(kDescriptorAt),
                          .grain_sectors = fields.le64(kGrainSectorsAt),
                          .directory_offset = directory > kSectorsMax ? UINT64_MAX : directory * kSectorBytes,
                          .grain_offset = fields.le64(kGrainOffsetAt),
                          .entries_per_table = fields.le32(kTableEntriesAt),
                          .version = fields.le32(kVersionAt),
                          .has_footer = directory == UINT64_MAX,
                          .is_compressed = fields.le16(kCompressionAt) == kDeflate,
                          .has_markers = (flags & kMarkerFlag) != 0,
                          .has_zero_grains = (flags & kZeroGrainFlag) != 0};
  header.grain_offset = header.grain_offset > kSectorsMax ? UINT64_MAX : header.grain_offset * kSectorBytes;
  return header;
}

Result<VmdkSparseHeader> parse_vmdk_footer(std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  const std::uint64_t end = 2 * kMarkerBytes;
  if (bytes.size() < kVmdkFooterBytes || fields.be32(kMarkerBytes) != kHostedMagic ||
      fields.le32(kMarkerLengthAt) != 0 || fields.le32(kMarkerTypeAt) != kFooterMarker || fields.le64(end) != 0 ||
      fields.le32(end + kMarkerLengthAt) != 0 || fields.le32(end + kMarkerTypeAt) != 0) {
    return fail("Invalid footer");
  }
  return read_vmdk_header(bytes.subspan(kMarkerBytes, kVmdkHeaderBytes));
}

Result<> check_vmdk_header(VmdkSparseHeader& header, std::uint64_t file_bytes) {
  if (header.version > kVersionMax) return fail(fmt::format("Unsupported VMDK version {}", header.version));
  if (header.entries_per_table > kVmdkTableEntriesMax) return fail("L2 table size too big");
  if (header.entries_per_table == 0 || header.grain_sectors == 0) return fail("L1 entry size is invalid");
  if (header.grain_offset > file_bytes) {
    return fail(fmt::format("File truncated, expecting at least {} bytes", header.grain_offset));
  }
  // At most 2^30 sectors for a grain table.
  const std::uint64_t table_sectors =
      header.entries_per_table * std::min(header.grain_sectors, kVmdkGrainSectorsMax + 1);
  header.directory_entries = blocks_for(header.capacity_sectors, table_sectors);
  TRY(check_sizes(header));
  if (header.is_compressed && header.grain_sectors * kSectorBytes > kVmdkCompressedGrainBytesMax) {
    return fail(fmt::format("The compressed grains have more than {} bytes", kVmdkCompressedGrainBytesMax));
  }
  return {};
}

Result<VmdkSparseHeader> parse_vmfs_header(std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  const VmdkSparseHeader header{.capacity_sectors = fields.le32(kEsxSectorsAt),
                                .grain_sectors = fields.le32(kEsxGrainSectorsAt),
                                .directory_offset = fields.le32(kEsxDirectoryAt) * kSectorBytes,
                                .directory_entries = fields.le32(kEsxDirectoryEntriesAt),
                                .entries_per_table = kVmfsTableEntries};
  if (header.grain_sectors == 0) return fail("L1 entry size is invalid");
  TRY(check_sizes(header));
  return header;
}

std::vector<std::uint64_t> parse_grain_directory(std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  std::vector<std::uint64_t> tables(bytes.size() / 4);
  for (std::size_t i = 0; i < tables.size(); ++i) tables[i] = fields.le32(4 * i) * kSectorBytes;
  return tables;
}

}  // namespace blockexport::drivers::foreign
