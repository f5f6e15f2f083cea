// The format of a bitmap store (docs/bitmap-store.md): superblock, catalog and sectors of bits, as bytes and as values.
//
// Pure functions without I/O. Every decoder takes any bytes, checks each count and length against a named limit, and
// returns a value that can be trusted, or the reason why not.
// Thread: any. Plain values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "block/bitmap/dirty_bits.h"

namespace blockexport::block {

// The unit that a disk writes as a whole: after a power cut it has its old or its new content.
inline constexpr std::size_t kStoreSectorBytes = 512;
// Areas begin at a multiple of this, so that no page of the page cache has sectors of two areas.
inline constexpr std::uint64_t kStorePageBytes = 4096;
// The two superblocks are at the begin of the first two pages; areas follow them.
inline constexpr std::uint64_t kStoreHeadBytes = 2 * kStorePageBytes;
inline constexpr std::size_t kSectorWords = 62;
inline constexpr std::uint64_t kSectorBits = kSectorWords * 64;

// The intent area always has this many sectors, whatever the size of the image.
inline constexpr std::uint64_t kIntentSectors = 272;
inline constexpr std::uint64_t kRegions = kIntentSectors * kSectorBits;
inline constexpr std::uint64_t kRegionBytesMin = 64u << 10;
inline constexpr std::uint64_t kRegionBytesDefault = 1u << 20;
inline constexpr std::uint64_t kRegionBytesMax = std::uint64_t{1} << 43;  // no region ends past 2^64

inline constexpr std::size_t kStoredBitmapsMax = 256;
inline constexpr std::size_t kImageIdentityBytesMax = 1023;
inline constexpr std::size_t kImageGenerationBytesMax = 255;
inline constexpr std::size_t kStoreCatalogBytesMax = 512u << 10;

inline constexpr std::uint32_t kStoreVersion = 1;

// True if `region_bytes` is a power of two from kRegionBytesMin to kRegionBytesMax.
bool is_region(std::uint64_t region_bytes);
// The smallest regions for an image of this size: a power of two, at least kRegionBytesDefault.
std::uint64_t region_bytes_for(std::uint64_t image_bytes);

enum class StoreState : std::uint8_t {
  kClean = 0,         // nobody records; the generation of the image is known
  kRecording = 1,     // somebody records, or crashed while recording
  kInconsistent = 2,  // changes were not recorded, so no bit can be trusted
};

// Consecutive bytes of the store's file.
struct StoreExtent {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t end() const { return offset + bytes; }
  friend bool operator==(StoreExtent, StoreExtent) = default;
};

struct StoreSuperblock {
  std::uint32_t version = kStoreVersion;
  std::uint64_t incompatible_features = 0;
  std::uint64_t sequence = 0;  // the superblock with the higher one is current
  StoreState state = StoreState::kClean;
  std::uint32_t error = 0;  // the errno that made the store inconsistent
  StoreExtent catalog = {};
  std::uint32_t catalog_sum = 0;
  std::string generation = {};  // of the image, while kClean
  friend bool operator==(const StoreSuperblock&, const StoreSuperblock&) = default;
};

// Sectors of bits, one after the other.
struct StoreArea {
  std::uint64_t offset = 0;
  std::uint32_t sectors = 0;
  std::uint32_t id = 0;  // in each of its sectors; never used again, so that older sectors are not taken for these
  StoreExtent extent() const { return {offset, std::uint64_t{sectors} * kStoreSectorBytes}; }
  friend bool operator==(StoreArea, StoreArea) = default;
};

struct StoredBitmap {
  std::string name;
  std::uint32_t granularity_bytes = 0;
  bool is_enabled = true;
  StoreArea area = {};
  friend bool operator==(const StoredBitmap&, const StoredBitmap&) = default;
};

struct StoreCatalog {
  std::uint64_t image_bytes = 0;  // the size that the areas have
  // The sizes that the image may have, because a change of its size began and its end was not recorded.
  std::uint64_t image_bytes_min = 0;
  std::uint64_t image_bytes_max = 0;
  std::uint64_t region_bytes = 0;
  std::uint32_t next_area_id = 1;
  std::string identity = {};  // of the image
  StoreArea intents = {};
  std::vector<StoredBitmap> bitmaps = {};
  friend bool operator==(const StoreCatalog&, const StoreCatalog&) = default;
};

using StoreSector = std::array<std::byte, kStoreSectorBytes>;

StoreSector encode(const StoreSuperblock& superblock);
enum class SuperblockFault : std::uint8_t {
  kEmpty,    // only zeros
  kForeign,  // no superblock of a bitmap store
  kDamaged,
};
// Accepts other versions too; check_supported() judges them.
std::expected<StoreSuperblock, SuperblockFault> decode_superblock(std::span<const std::byte, kStoreSectorBytes> sector);
// An empty text, or the reason why this program cannot use the store.
std::string check_supported(const StoreSuperblock& superblock);

std::vector<std::byte> encode(const StoreCatalog& catalog);
// `at`: where the bytes are in the file, of `file_bytes`. The error is a reason such as "an area is out of bounds".
std::expected<StoreCatalog, std::string_view> decode_catalog(std::span<const std::byte> bytes, StoreExtent at,
                                                             std::uint64_t file_bytes);

// `words`: in little-endian byte order, as DirtyBits::copy_words() gives them.
void encode_sector(std::span<std::byte, kStoreSectorBytes> sector, std::uint32_t area_id, std::uint32_t index,
                   std::span<const std::uint64_t, kSectorWords> words);
// False: damaged, or not the sector `index` of the area. Then all of its bits count as set.
bool decode_sector(std::span<const std::byte, kStoreSectorBytes> sector, std::uint32_t area_id, std::uint32_t index,
                   std::span<std::uint64_t, kSectorWords> words);

// Sectors that the bits of an image need; at least 1. Nothing: the bitmap would have more granules than
// DirtyBits::kGranulesMax.
std::optional<std::uint32_t> sectors_for(std::uint64_t image_bytes, std::uint32_t granularity_bytes);

// The first offset behind the head where `bytes` bytes overlap none of `used`.
std::uint64_t find_space(std::vector<StoreExtent> used, std::uint64_t bytes);
// The areas of the file that the catalog at `at` uses.
std::vector<StoreExtent> extents_of(const StoreCatalog& catalog, StoreExtent at);

}  // namespace blockexport::block
