#include "block/bitmap_store/store_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "block/bitmap/dirty_bitmap.h"
#include "block/bitmap_store/crc32c.h"

namespace blockexport::block {
namespace {

constexpr std::string_view kMagic = "BXBITMAP";
constexpr std::size_t kSuperblockSumOffset = kStoreSectorBytes - 4;
constexpr std::uint8_t kFlagEnabled = 1u << 0;
// No file is longer, and sums of an offset and a length do not overflow.
constexpr std::uint64_t kStoreFileBytesMax = std::uint64_t{1} << 62;
constexpr std::size_t kSectorHeadBytes = 16;

void write_text(ByteWriter& writer, std::string_view text) {
  writer.u16(static_cast<std::uint16_t>(text.size()));
  writer.text(text);
}
std::string read_text(ByteReader& reader) {
  return std::string(reader.text(reader.u16()));
}

void write_area(ByteWriter& writer, const StoreArea& area) {
  writer.u64(area.offset);
  writer.u32(area.sectors);
  writer.u32(area.id);
}
StoreArea read_area(ByteReader& reader) {
  StoreArea area;
  area.offset = reader.u64();
  area.sectors = reader.u32();
  area.id = reader.u32();
  return area;
}

// The reason why the bitmaps of the catalog are not valid, or an empty text.
std::string_view check_bitmaps(const StoreCatalog& catalog) {
  std::vector<std::string_view> names;
  for (const StoredBitmap& bitmap : catalog.bitmaps) {
    if (bitmap.name.empty() || bitmap.name.size() > DirtyBitmap::kNameBytesMax) return "a bitmap has an invalid name";
    names.push_back(bitmap.name);
    if (!DirtyBits::is_granularity(bitmap.granularity_bytes)) return "a bitmap has an invalid granularity";
    if (sectors_for(catalog.image_bytes, bitmap.granularity_bytes) != bitmap.area.sectors) {
      return "a bitmap does not have the size of the image";
    }
  }
  std::ranges::sort(names);
  return std::ranges::adjacent_find(names) == names.end() ? "" : "two bitmaps have the same name";
}

// The same for the places of the areas and of the catalog itself.
std::string_view check_places(const StoreCatalog& catalog, StoreExtent at, std::uint64_t file_bytes) {
  std::vector<std::uint32_t> ids{catalog.intents.id};
  for (const StoredBitmap& bitmap : catalog.bitmaps) ids.push_back(bitmap.area.id);
  std::ranges::sort(ids);
  if (std::ranges::adjacent_find(ids) != ids.end() || ids.back() >= catalog.next_area_id) {
    return "an area has an invalid number";
  }
  std::vector<StoreExtent> used = extents_of(catalog, at);
  std::ranges::sort(used, {}, &StoreExtent::offset);
  std::uint64_t end = kStoreHeadBytes;
  for (const StoreExtent& extent : used) {
    if (extent.offset % kStorePageBytes != 0 || extent.offset < end) return "two areas overlap";
    if (extent.offset > kStoreFileBytesMax || extent.end() > file_bytes) return "it is truncated";
    end = extent.end();
  }
  return "";
}

}  // namespace

bool is_region(std::uint64_t region_bytes) {
  return std::has_single_bit(region_bytes) && region_bytes >= kRegionBytesMin && region_bytes <= kRegionBytesMax;
}

std::uint64_t region_bytes_for(std::uint64_t image_bytes) {
  std::uint64_t region_bytes = kRegionBytesDefault;
  while (image_bytes / region_bytes >= kRegions) region_bytes *= 2;
  return region_bytes;
}

StoreSector encode(const StoreSuperblock& superblock) {
  assert(superblock.generation.size() <= kImageGenerationBytesMax);
  StoreSector sector{};
  ByteWriter writer(sector);
  writer.text(kMagic);
  writer.u32(superblock.version);
  writer.u64(superblock.incompatible_features);
  writer.u64(superblock.sequence);
  writer.u8(static_cast<std::uint8_t>(superblock.state));
  writer.u32(superblock.error);
  writer.u64(superblock.catalog.offset);
  writer.u32(static_cast<std::uint32_t>(superblock.catalog.bytes));
  writer.u32(superblock.catalog_sum);
  write_text(writer, superblock.generation);
  const auto summed = std::span(sector).first(kSuperblockSumOffset);
  ByteWriter(std::span(sector).last(4)).u32(crc32c(summed));
  return sector;
}

std::expected<StoreSuperblock, SuperblockFault> decode_superblock(
    std::span<const std::byte, kStoreSectorBytes> sector) {
  if (std::ranges::all_of(sector, [](std::byte byte) { return byte == std::byte{0}; })) {
    return std::unexpected(SuperblockFault::kEmpty);
  }
  ByteReader reader(sector);
  if (reader.text(kMagic.size()) != kMagic) return std::unexpected(SuperblockFault::kForeign);
  if (ByteReader(sector.last(4)).u32() != crc32c(sector.first(kSuperblockSumOffset))) {
    return std::unexpected(SuperblockFault::kDamaged);
  }
  StoreSuperblock superblock;
  superblock.version = reader.u32();
  superblock.incompatible_features = reader.u64();
  superblock.sequence = reader.u64();
  // So that the next number is larger.
  if (superblock.sequence == UINT64_MAX) return std::unexpected(SuperblockFault::kDamaged);
  if (superblock.version != kStoreVersion) return superblock;
  const std::uint8_t state = reader.u8();
  superblock.error = reader.u32();
  superblock.catalog.offset = reader.u64();
  superblock.catalog.bytes = reader.u32();
  superblock.catalog_sum = reader.u32();
  superblock.generation = read_text(reader);
  const bool is_valid = state <= static_cast<std::uint8_t>(StoreState::kInconsistent) &&
                        superblock.generation.size() <= kImageGenerationBytesMax &&
                        superblock.catalog.bytes <= kStoreCatalogBytesMax &&
                        superblock.catalog.offset >= kStoreHeadBytes && superblock.catalog.offset <= kStoreFileBytesMax;
  if (!is_valid) return std::unexpected(SuperblockFault::kDamaged);
  superblock.state = static_cast<StoreState>(state);
  return superblock;
}

std::string check_supported(const StoreSuperblock& superblock) {
  if (superblock.version != kStoreVersion) {
    return fmt::format("its version is {}, and this program supports version {}", superblock.version, kStoreVersion);
  }
  if (superblock.incompatible_features != 0) {
    return fmt::format("it uses features that this program does not support (bits {:#x})",
                       superblock.incompatible_features);
  }
  return "";
}

std::vector<std::byte> encode(const StoreCatalog& catalog) {
  constexpr std::size_t kAreaBytes = 16;
  std::size_t size = 4 * 8 + 4 + 2 + catalog.identity.size() + kAreaBytes + 4;
  for (const StoredBitmap& bitmap : catalog.bitmaps) size += 2 + bitmap.name.size() + 4 + 1 + kAreaBytes;
  assert(size <= kStoreCatalogBytesMax);
  std::vector<std::byte> bytes(size);
  ByteWriter writer(bytes);
  writer.u64(catalog.image_bytes);
  writer.u64(catalog.image_bytes_min);
  writer.u64(catalog.image_bytes_max);
  writer.u64(catalog.region_bytes);
  writer.u32(catalog.next_area_id);
  write_text(writer, catalog.identity);
  write_area(writer, catalog.intents);
  writer.u32(static_cast<std::uint32_t>(catalog.bitmaps.size()));
  for (const StoredBitmap& bitmap : catalog.bitmaps) {
    write_text(writer, bitmap.name);
    writer.u32(bitmap.granularity_bytes);
    writer.u8(bitmap.is_enabled ? kFlagEnabled : 0);
    write_area(writer, bitmap.area);
  }
  return bytes;
}

std::expected<StoreCatalog, std::string_view> decode_catalog(std::span<const std::byte> bytes, StoreExtent at,
                                                             std::uint64_t file_bytes) {
  ByteReader reader(bytes);
  StoreCatalog catalog;
  catalog.image_bytes = reader.u64();
  catalog.image_bytes_min = reader.u64();
  catalog.image_bytes_max = reader.u64();
  catalog.region_bytes = reader.u64();
  catalog.next_area_id = reader.u32();
  catalog.identity = read_text(reader);
  catalog.intents = read_area(reader);
  const std::uint32_t count = reader.u32();
  if (reader.failed()) return std::unexpected("its catalog is too short");
  if (count > kStoredBitmapsMax) return std::unexpected("it has too many bitmaps");
  for (std::uint32_t index = 0; index < count; index++) {
    StoredBitmap bitmap;
    bitmap.name = read_text(reader);
    bitmap.granularity_bytes = reader.u32();
    const std::uint8_t flags = reader.u8();
    if ((flags & ~kFlagEnabled) != 0) return std::unexpected("a bitmap has unknown flags");
    bitmap.is_enabled = (flags & kFlagEnabled) != 0;
    bitmap.area = read_area(reader);
    catalog.bitmaps.push_back(std::move(bitmap));
  }
  if (reader.failed()) return std::unexpected("its catalog is too short");
  if (reader.remaining() != 0) return std::unexpected("its catalog is too long");
  if (catalog.image_bytes_max > static_cast<std::uint64_t>(INT64_MAX)) return std::unexpected("its image is too large");
  if (catalog.image_bytes < catalog.image_bytes_min || catalog.image_bytes > catalog.image_bytes_max) {
    return std::unexpected("the sizes of its image contradict each other");
  }
  if (catalog.identity.size() > kImageIdentityBytesMax) return std::unexpected("the identity is too long");
  if (!is_region(catalog.region_bytes)) return std::unexpected("its regions have an invalid size");
  if (catalog.intents.sectors != kIntentSectors) return std::unexpected("its intent area has an invalid size");
  if (std::string_view reason = check_bitmaps(catalog); !reason.empty()) return std::unexpected(reason);
  if (std::string_view reason = check_places(catalog, at, file_bytes); !reason.empty()) return std::unexpected(reason);
  return catalog;
}

void encode_sector(std::span<std::byte, kStoreSectorBytes> sector, std::uint32_t area_id, std::uint32_t index,
                   std::span<const std::uint64_t, kSectorWords> words) {
  ByteWriter writer(sector.subspan<4>());
  writer.u32(area_id);
  writer.u32(index);
  writer.u32(0);  // reserved
  writer.bytes(std::as_bytes(words));
  ByteWriter(sector.first(4)).u32(crc32c(sector.subspan<4>()));
}

bool decode_sector(std::span<const std::byte, kStoreSectorBytes> sector, std::uint32_t area_id, std::uint32_t index,
                   std::span<std::uint64_t, kSectorWords> words) {
  ByteReader reader(sector);
  if (reader.u32() != crc32c(sector.subspan<4>())) return false;
  if (reader.u32() != area_id || reader.u32() != index || reader.u32() != 0) return false;
  std::memcpy(words.data(), sector.data() + kSectorHeadBytes, words.size_bytes());
  return true;
}

std::optional<std::uint32_t> sectors_for(std::uint64_t image_bytes, std::uint32_t granularity_bytes) {
  const std::uint64_t granules = image_bytes / granularity_bytes + (image_bytes % granularity_bytes != 0 ? 1 : 0);
  if (granules > DirtyBits::kGranulesMax) return std::nullopt;
  return static_cast<std::uint32_t>(std::max<std::uint64_t>((granules + kSectorBits - 1) / kSectorBits, 1));
}

std::uint64_t find_space(std::vector<StoreExtent> used, std::uint64_t bytes) {
  std::ranges::sort(used, {}, &StoreExtent::offset);
  std::uint64_t offset = kStoreHeadBytes;
  for (const StoreExtent& extent : used) {
    if (offset + bytes <= extent.offset) return offset;
    offset = std::max(offset, (extent.end() + kStorePageBytes - 1) / kStorePageBytes * kStorePageBytes);
  }
  return offset;
}

std::vector<StoreExtent> extents_of(const StoreCatalog& catalog, StoreExtent at) {
  std::vector<StoreExtent> extents{at, catalog.intents.extent()};
  for (const StoredBitmap& bitmap : catalog.bitmaps) extents.push_back(bitmap.area.extent());
  return extents;
}

}  // namespace blockexport::block
