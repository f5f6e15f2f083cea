#include "drivers/foreign/format/vpc_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "drivers/foreign/format/fields.h"

namespace blockexport::drivers::foreign {
namespace {

constexpr std::string_view kCookie = "conectix";
constexpr std::string_view kDynamicCookie = "cxsparse";
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint32_t kEntryUnused = 0xffffffff;

// "Hard Disk Footer Format"; integers are big-endian.
constexpr std::uint64_t kDataOffsetAt = 16;
constexpr std::uint64_t kCreatorAt = 28;
constexpr std::uint64_t kCurrentSizeAt = 48;
constexpr std::uint64_t kCylindersAt = 56;
constexpr std::uint64_t kHeadsAt = 58;
constexpr std::uint64_t kSectorsPerTrackAt = 59;
constexpr std::uint64_t kTypeAt = 60;
constexpr std::uint64_t kChecksumAt = 64;

enum DiskType : std::uint32_t { kFixed = 2, kDifferencing = 4 };

// "Dynamic Disk Header Format".
constexpr std::uint64_t kTableOffsetAt = 16;
constexpr std::uint64_t kEntriesAt = 28;
constexpr std::uint64_t kBlockBytesAt = 32;

// The largest geometry stands for every larger disk.
constexpr std::uint64_t kGeometrySectorsMax = std::uint64_t{65535} * 16 * 255;

bool has_right_checksum(const Fields& fields) {
  std::uint32_t sum = 0;
  for (std::uint64_t i = 0; i < kVpcFooterBytes; ++i) {
    if (i < kChecksumAt || i >= kChecksumAt + 4) sum += fields.u8(i);
  }
  return fields.be32(kChecksumAt) == ~sum;
}

// Virtual PC shows as much of a disk as its geometry tells; other programs show the size that is next to it.
std::uint64_t disk_sectors(const Fields& fields) {
  const std::uint64_t geometry =
      std::uint64_t{fields.be16(kCylindersAt)} * fields.u8(kHeadsAt) * fields.u8(kSectorsPerTrackAt);
  const std::string_view creator = fields.text(kCreatorAt, 4);
  if ((creator == "vpc " || creator == "qemu") && geometry != kGeometrySectorsMax) return geometry;
  return fields.be64(kCurrentSizeAt) / kSectorBytes;
}

constexpr std::uint64_t round_up(std::uint64_t bytes) {
  return (bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}

}  // namespace

bool has_vpc_cookie(std::span<const std::byte> bytes) {
  return Fields(bytes).text(0, kCookie.size()) == kCookie;
}

bool is_vpc(std::span<const std::byte> bytes) {
  return has_vpc_cookie(bytes);
}

Result<VpcFooter> parse_vpc_footer(std::span<const std::byte> bytes, VpcPlace place) {
  const Fields fields(bytes);
  const std::uint32_t type = fields.be32(kTypeAt);
  if (!has_vpc_cookie(bytes) || (place == VpcPlace::kEnd && type != kFixed)) return fail("invalid VPC image");
  if (!has_right_checksum(fields)) return fail("Incorrect header checksum");
  if (type == kDifferencing) {
    return fail(Error("A differencing VHD image, whose other blocks are in a parent image, is not supported")
                    .with_hint("Merge it into its parent with the program that made it."));
  }
  VpcFooter footer{.is_flat = type == kFixed, .is_dynamic = place == VpcPlace::kBegin};
  const std::uint64_t sectors = disk_sectors(fields);
  if (sectors > kVpcDiskBytesMax / kSectorBytes) return fail("File too large");
  footer.disk_bytes = sectors * kSectorBytes;
  footer.dynamic_header_offset = fields.be64(kDataOffsetAt);
  if (footer.is_dynamic && footer.dynamic_header_offset > INT64_MAX - kVpcDynamicHeaderBytes) {
    return fail("Error reading dynamic VHD header");
  }
  return footer;
}

Result<BlockTable> parse_vpc_dynamic_header(const VpcFooter& footer, std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  if (fields.text(0, kDynamicCookie.size()) != kDynamicCookie) return fail("Invalid header magic");
  const std::uint32_t block_bytes = fields.be32(kBlockBytesAt);
  if (!std::has_single_bit(block_bytes) || block_bytes < kSectorBytes) {
    return fail(fmt::format("Invalid block size {}", block_bytes));
  }
  const std::uint32_t entries = fields.be32(kEntriesAt);
  if (entries > kVpcDiskBytesMax / block_bytes) {
    return fail(fmt::format("Max Table Entries too large ({})", static_cast<std::int32_t>(entries)));
  }
  if (std::uint64_t{entries} * block_bytes < footer.disk_bytes) return fail("Page table too small");
  // A sector bitmap of whole sectors is in front of each block.
  BlockTable table{.form = EntryForm::kVpc,
                   .block_bytes = block_bytes,
                   .block_count = entries,
                   .table_offset = fields.be64(kTableOffsetAt),
                   .unit_bytes = kSectorBytes,
                   .data_offset = round_up(block_bytes / kSectorBytes / 8)};
  if (table.table_bytes() > kVpcTableBytesMax) {
    return fail(Error(fmt::format("The block allocation table has more than {} bytes", kVpcTableBytesMax)));
  }
  if (table.table_offset > INT64_MAX - kVpcTableBytesMax) return fail("Error reading pagetable");
  return table;
}

std::uint64_t end_of_vpc_blocks(const BlockTable& table, std::span<const std::byte> part, std::uint64_t end) {
  const Fields fields(part);
  for (std::uint64_t i = 0; i + 4 <= part.size(); i += 4) {
    const std::uint32_t sector = fields.be32(i);
    if (sector == kEntryUnused) continue;
    end = std::max(end, sector * kSectorBytes + table.data_offset + table.block_bytes);
  }
  return end;
}

}  // namespace blockexport::drivers::foreign
