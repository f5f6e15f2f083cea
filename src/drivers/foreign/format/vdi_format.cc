#include "drivers/foreign/format/vdi_format.h"

#include <fmt/format.h>

#include <algorithm>

#include "drivers/foreign/format/fields.h"

namespace blockexport::drivers::foreign {
namespace {

constexpr std::uint32_t kSignature = 0xbeda107f;
constexpr std::uint32_t kVersion = 0x00010001;
constexpr std::uint32_t kSectorBytes = 512;
constexpr std::uint32_t kTypeStatic = 2;

// Offsets of the fields; integers are little-endian.
constexpr std::uint64_t kSignatureAt = 0x40;
constexpr std::uint64_t kVersionAt = 0x44;
constexpr std::uint64_t kTypeAt = 0x4c;
constexpr std::uint64_t kTableOffsetAt = 0x154;
constexpr std::uint64_t kDataOffsetAt = 0x158;
constexpr std::uint64_t kSectorBytesAt = 0x168;
constexpr std::uint64_t kDiskBytesAt = 0x170;
constexpr std::uint64_t kBlockBytesAt = 0x178;
constexpr std::uint64_t kBlockCountAt = 0x180;
constexpr std::uint64_t kLinkUuidAt = 0x1a8;
constexpr std::uint64_t kParentUuidAt = 0x1b8;
constexpr std::size_t kUuidBytes = 16;

bool is_null(std::string_view uuid) {
  return std::ranges::all_of(uuid, [](char one) { return one == 0; });
}

Result<> check_layout(const Fields& fields, const VdiHeader& header) {
  if (header.table_offset % kSectorBytes != 0) {
    return fail(fmt::format("unsupported VDI image (unaligned block map offset {:#x})", header.table_offset));
  }
  if (header.data_offset % kSectorBytes != 0) {
    return fail(fmt::format("unsupported VDI image (unaligned data offset {:#x})", header.data_offset));
  }
  if (const std::uint32_t bytes = fields.le32(kSectorBytesAt); bytes != kSectorBytes) {
    return fail(fmt::format("unsupported VDI image (sector size {} is not {})", bytes, kSectorBytes));
  }
  if (const std::uint32_t bytes = fields.le32(kBlockBytesAt); bytes != kVdiBlockBytes) {
    return fail(fmt::format("unsupported VDI image (block size {} is not {})", bytes, kVdiBlockBytes));
  }
  const std::uint64_t mapped = header.block_count * kVdiBlockBytes;
  if (header.disk_bytes > mapped) {
    return fail(
        fmt::format("unsupported VDI image (disk size {}, image bitmap has room for {})", header.disk_bytes, mapped));
  }
  return {};
}

}  // namespace

BlockTable VdiHeader::table() const {
  return {.form = EntryForm::kVdi,
          .block_bytes = kVdiBlockBytes,
          .block_count = blocks_for(disk_bytes, kVdiBlockBytes),
          .table_offset = table_offset,
          .unit_bytes = kVdiBlockBytes,
          .data_offset = data_offset};
}

Result<VdiHeader> parse_vdi_header(std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  VdiHeader header{.disk_bytes = fields.le64(kDiskBytesAt),
                   .table_offset = fields.le32(kTableOffsetAt),
                   .data_offset = fields.le32(kDataOffsetAt),
                   .block_count = fields.le32(kBlockCountAt),
                   .is_static = fields.le32(kTypeAt) == kTypeStatic};
  if (header.disk_bytes > kVdiDiskBytesMax) {
    return fail(fmt::format("Unsupported VDI image size (size is {:#x}, max supported is {:#x})", header.disk_bytes,
                            kVdiDiskBytesMax));
  }
  // Tools of VirtualBox make disks of any size.
  header.disk_bytes = (header.disk_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  if (const std::uint32_t signature = fields.le32(kSignatureAt); signature != kSignature) {
    return fail(fmt::format("Image not in VDI format (bad signature {:08x})", signature));
  }
  if (const std::uint32_t version = fields.le32(kVersionAt); version != kVersion) {
    return fail(fmt::format("unsupported VDI image (version {}.{})", version >> 16, version & 0xffff));
  }
  TRY(check_layout(fields, header));
  if (!is_null(fields.text(kLinkUuidAt, kUuidBytes))) return fail("unsupported VDI image (non-NULL link UUID)");
  if (!is_null(fields.text(kParentUuidAt, kUuidBytes))) return fail("unsupported VDI image (non-NULL parent UUID)");
  if (header.block_count > kVdiBlocksMax) {
    return fail(
        fmt::format("unsupported VDI image (too many blocks {}, max is {})", header.block_count, kVdiBlocksMax));
  }
  return header;
}

bool is_vdi(std::span<const std::byte> bytes) {
  return Fields(bytes).has(0, kVdiHeaderBytes) && Fields(bytes).le32(kSignatureAt) == kSignature;
}

}  // namespace blockexport::drivers::foreign
