#include "drivers/foreign/format/vhdx_format.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "block/bitmap_store/crc32c.h"
#include "drivers/foreign/format/fields.h"

namespace blockexport::drivers::foreign {
namespace {

using block::Range;

constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kChecksumAt = 4;

// Section 2.2.2.
constexpr std::uint64_t kSequenceAt = 8;
constexpr std::uint64_t kLogGuidAt = 48;
constexpr std::uint64_t kLogVersionAt = 64;
constexpr std::uint64_t kVersionAt = 66;
constexpr std::uint64_t kLogBytesAt = 68;
constexpr std::uint64_t kLogOffsetAt = 72;

// Sections 2.2.3 and 2.6.1.
constexpr std::uint64_t kRegionCountAt = 8;
constexpr std::uint64_t kRegionsAt = 16;
constexpr std::uint64_t kItemCountAt = 10;
constexpr std::uint64_t kItemsAt = 32;
constexpr std::uint64_t kEntryBytes = 32;
constexpr std::uint32_t kRegionRequired = 1;
constexpr std::uint32_t kItemRequired = 1u << 2;
constexpr std::uint32_t kHasParent = 1u << 1;

// Section 2.3.1.1.
constexpr std::uint64_t kLogEntryBytesAt = 8;
constexpr std::uint64_t kLogTailAt = 12;
constexpr std::uint64_t kLogEntrySequenceAt = 16;
constexpr std::uint64_t kLogDescriptorsAt = 24;
constexpr std::uint64_t kLogEntryGuidAt = 32;
// Checksums are taken over at most so many times the bytes of the log.
constexpr std::uint64_t kLogReadsMax = 2;

constexpr Guid guid(std::array<unsigned, 16> bytes) {
  Guid value{};
  for (std::size_t i = 0; i < value.size(); ++i) value[i] = static_cast<std::byte>(bytes[i]);
  return value;
}

constexpr Guid kTableRegion =
    guid({0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08});
constexpr Guid kMetadataRegion =
    guid({0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e});
constexpr Guid kParameters =
    guid({0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b});
constexpr Guid kDiskSize =
    guid({0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8});
constexpr Guid kDiskId =
    guid({0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46});
constexpr Guid kLogicalSector =
    guid({0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f});
constexpr Guid kPhysicalSector =
    guid({0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56});
constexpr Guid kParentLocator =
    guid({0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c});

Guid guid_at(const Fields& fields, std::uint64_t offset) {
  Guid value{};
  const std::string_view bytes = fields.text(offset, value.size());
  if (!bytes.empty()) std::memcpy(value.data(), bytes.data(), value.size());
  return value;
}

// The checksum of a structure counts its own field as zeros.
bool has_right_checksum(std::span<const std::byte> bytes) {
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  if (copy.size() < kChecksumAt + 4) return false;
  std::fill_n(copy.begin() + kChecksumAt, 4, std::byte{});
  return Fields(bytes).le32(kChecksumAt) == block::crc32c(copy);
}

std::optional<VhdxHeader> parse_header(std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  if (fields.text(0, 4) != "head" || fields.le16(kVersionAt) != 1 || !has_right_checksum(bytes)) return std::nullopt;
  return VhdxHeader{.sequence = fields.le64(kSequenceAt),
                    .log_guid = guid_at(fields, kLogGuidAt),
                    .log_version = fields.le16(kLogVersionAt),
                    .log_bytes = fields.le32(kLogBytesAt),
                    .log_offset = fields.le64(kLogOffsetAt)};
}

bool overlaps(Range a, Range b) {
  return a.offset < b.end() && b.offset < a.end();
}

// False: it overlaps another one, or is longer than any file.
bool add_region(std::vector<Range>& all, Range region) {
  if (region.offset > INT64_MAX - region.length) return false;
  if (region.empty()) return true;
  if (std::ranges::any_of(all, [region](Range one) { return overlaps(one, region); })) return false;
  all.push_back(region);
  return true;
}

}  // namespace

bool is_vhdx(std::span<const std::byte> bytes) {
  return Fields(bytes).text(0, 8) == "vhdxfile";
}

std::optional<VhdxHeader> choose_vhdx_header(std::span<const std::byte> first, std::span<const std::byte> second) {
  const std::optional<VhdxHeader> one = parse_header(first);
  const std::optional<VhdxHeader> two = parse_header(second);
  if (!one || !two) return one ? one : two;
  if (one->sequence != two->sequence) return one->sequence > two->sequence ? one : two;
  return std::ranges::equal(first, second) ? one : std::nullopt;
}

IoResult check_vhdx_log(const VhdxHeader& header) {
  if (header.log_version != 0) return fail(EINVAL);
  if (!header.has_log()) return {};
  if (header.log_bytes == 0) return {};
  if (header.log_offset < kMiB || header.log_offset % kMiB != 0 || header.log_bytes < kMiB ||
      header.log_bytes % kMiB != 0 || header.log_offset > INT64_MAX - header.log_bytes) {
    return fail(EINVAL);
  }
  return {};
}

bool has_vhdx_log_entry(const VhdxHeader& header, std::span<const std::byte> log) {
  // Wrong entries that overlap could cost any time.
  std::uint64_t bytes_left = kLogReadsMax * log.size();
  for (std::uint64_t at = 0; at + kVhdxLogSectorBytes <= log.size(); at += kVhdxLogSectorBytes) {
    const Fields fields(log.subspan(static_cast<std::size_t>(at)));
    if (fields.text(0, 4) != "loge" || guid_at(fields, kLogEntryGuidAt) != header.log_guid) continue;
    const std::uint64_t bytes = fields.le32(kLogEntryBytesAt);
    const std::uint64_t tail = fields.le32(kLogTailAt);
    if (bytes == 0 || bytes % kVhdxLogSectorBytes != 0 || bytes > log.size()) continue;
    if (tail % kVhdxLogSectorBytes != 0 || tail >= log.size() || fields.le64(kLogEntrySequenceAt) == 0) continue;
    if (fields.le32(kLogDescriptorsAt) > bytes / kEntryBytes) continue;
    if (bytes > bytes_left) return true;
    bytes_left -= bytes;
    // An entry may go on at the begin of the log.
    std::vector<std::byte> entry(static_cast<std::size_t>(bytes));
    const std::size_t behind = std::min(entry.size(), log.size() - static_cast<std::size_t>(at));
    std::ranges::copy(log.subspan(static_cast<std::size_t>(at), behind), entry.begin());
    std::ranges::copy(log.first(entry.size() - behind), entry.begin() + static_cast<std::ptrdiff_t>(behind));
    if (has_right_checksum(entry)) return true;
  }
  return false;
}

std::expected<VhdxRegions, Errno> parse_vhdx_regions(const VhdxHeader& header, std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  const std::uint32_t count = fields.le32(kRegionCountAt);
  if (fields.text(0, 4) != "regi" || !has_right_checksum(bytes) || count > kVhdxEntriesMax) return fail(EINVAL);
  VhdxRegions regions;
  if (!add_region(regions.all, header.log())) return fail(EINVAL);
  bool has_table = false;
  bool has_metadata = false;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t at = kRegionsAt + i * kEntryBytes;
    const Guid id = guid_at(fields, at);
    const Range region{fields.le64(at + 16), fields.le32(at + 24)};
    if (region.offset > INT64_MAX - region.length) return fail(EIO);
    if (!add_region(regions.all, region)) return fail(EINVAL);
    if (id == kTableRegion) {
      if (std::exchange(has_table, true)) return fail(EINVAL);
      regions.table = region;
    } else if (id == kMetadataRegion) {
      if (std::exchange(has_metadata, true)) return fail(EINVAL);
      regions.metadata = region;
    } else if ((fields.le32(at + 28) & kRegionRequired) != 0) {
      return fail(ENOTSUP);
    }
  }
  if (!has_table || !has_metadata) return fail(EINVAL);
  return regions;
}

std::expected<VhdxItems, Errno> parse_vhdx_items(std::span<const std::byte> bytes) {
  const Fields fields(bytes);
  const std::uint16_t count = fields.le16(kItemCountAt);
  if (fields.text(0, 8) != "metadata" || count > kVhdxEntriesMax) return fail(EINVAL);
  std::array<std::pair<Guid, std::optional<std::uint32_t>>, 6> known = {{{kParameters, {}},
                                                                         {kDiskSize, {}},
                                                                         {kDiskId, {}},
                                                                         {kLogicalSector, {}},
                                                                         {kPhysicalSector, {}},
                                                                         {kParentLocator, {}}}};
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t at = kItemsAt + i * kEntryBytes;
    const Guid id = guid_at(fields, at);
    const auto item = std::ranges::find(known, id, [](const auto& one) { return one.first; });
    if (item != known.end()) {
      if (item->second) return fail(EINVAL);
      item->second = fields.le32(at + 16);
    } else if ((fields.le32(at + 24) & kItemRequired) != 0) {
      return fail(ENOTSUP);
    }
  }
  const bool has_all =
      std::all_of(known.begin(), known.end() - 1, [](const auto& one) { return one.second.has_value(); });
  if (!has_all) return fail(ENOTSUP);
  return VhdxItems{
      .parameters = {*known[0].second}, .disk_size = {*known[1].second}, .sector_size = {*known[3].second}};
}

std::expected<VhdxDisk, Errno> parse_vhdx_disk(std::span<const std::byte> parameters,
                                               std::span<const std::byte> disk_size,
                                               std::span<const std::byte> sector_size) {
  const std::uint32_t block_bytes = Fields(parameters).le32(0);
  // A parent image is not supported.
  if ((Fields(parameters).le32(4) & kHasParent) != 0) return fail(EINVAL);
  if (block_bytes < kVhdxBlockBytesMin || block_bytes > kVhdxBlockBytesMax || !std::has_single_bit(block_bytes)) {
    return fail(EINVAL);
  }
  if (Fields(sector_size).le32(0) != kSectorBytes) return fail(ENOTSUP);
  const std::uint64_t disk_bytes = Fields(disk_size).le64(0) / kSectorBytes * kSectorBytes;
  if (disk_bytes == 0 || disk_bytes > kVhdxDiskBytesMax) return fail(EINVAL);
  return VhdxDisk{.disk_bytes = disk_bytes, .block_bytes = block_bytes};
}

BlockTable VhdxDisk::table(const VhdxRegions& regions) const {
  // Section 2.5: an entry for a bitmap of sectors follows the entries of a chunk of blocks.
  constexpr std::uint64_t kSectorsPerBitmapBlock = 1u << 23;
  return {.form = EntryForm::kVhdx,
          .block_bytes = block_bytes,
          .block_count = blocks_for(disk_bytes, block_bytes),
          .table_offset = regions.table.offset,
          .blocks_per_chunk = kSectorsPerBitmapBlock * kSectorBytes / block_bytes};
}

IoResult check_vhdx_table(const BlockTable& table, const VhdxRegions& regions) {
  return table.table_bytes() <= regions.table.length ? IoResult() : fail(EINVAL);
}

bool is_vhdx_block_valid(const VhdxRegions& regions, std::uint64_t offset, std::uint64_t block_bytes,
                         std::uint64_t bytes, std::uint64_t file_bytes) {
  if (offset > UINT64_MAX - block_bytes || offset >= file_bytes || bytes > file_bytes - offset) return false;
  return std::ranges::none_of(regions.all, [&](Range one) { return overlaps(one, {offset, block_bytes}); });
}

}  // namespace blockexport::drivers::foreign
