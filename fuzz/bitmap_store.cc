// Fuzzes the format of bitmap stores, and the opening of a store: no content of the file may break it, a superblock or
// catalog that is accepted encodes to the same bytes, and a store that opens can be loaded, changed and closed.
//
// Input: the first byte chooses the target; superblock, catalog, sector of bits, the file, or the file beside an image
// with sessions. The checksums of the file's superblocks and catalog are corrected first, because no random input has
// the right ones; and beside an image, the identity in the catalog.
#include "block/bitmap_store/bitmap_store.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "aio/sync/scope.h"
#include "aio/testing/simulation.h"
#include "base/byte_writer.h"
#include "block/bitmap_store/crc32c.h"
#include "block/bitmap_store/region_bits.h"

namespace blockexport::block {
namespace {

using Bytes = std::span<const std::byte>;

constexpr const char* kPath = "/store";
// An image that is larger would only cost memory.
constexpr std::uint64_t kImageBytesMax = 1u << 30;
constexpr std::uint32_t kBlockBytes = 64u << 10;
constexpr const char* kImageIdentity = "disk";
// In the simulation the store is the first file.
constexpr const char* kBoundIdentity = "disk\nstore file 1\nsession 00000001";

void require(bool promise) {
  if (!promise) std::abort();
}

void correct_sum(std::span<std::byte> sector) {
  ByteWriter(sector.last(4)).u32(crc32c(sector.first(sector.size() - 4)));
}

void fuzz_superblock(Bytes bytes) {
  StoreSector sector{};
  std::ranges::copy(bytes.first(std::min(bytes.size(), sector.size())), sector.begin());
  correct_sum(sector);
  const auto decoded = decode_superblock(sector);
  if (!decoded || !check_supported(*decoded).empty()) return;
  const auto again = decode_superblock(encode(*decoded));
  require(again && *again == *decoded);
}

void fuzz_catalog(Bytes bytes) {
  const StoreExtent at{.offset = std::uint64_t{1} << 40, .bytes = bytes.size()};
  const auto decoded = decode_catalog(bytes, at, at.end());
  if (!decoded) return;
  require(std::ranges::equal(encode(*decoded), bytes));
  require(decoded->bitmaps.size() <= kStoredBitmapsMax);
}

void fuzz_sector(Bytes bytes) {
  StoreSector sector{};
  std::ranges::copy(bytes.first(std::min(bytes.size(), sector.size())), sector.begin());
  ByteWriter(std::span(sector).first<4>()).u32(crc32c(std::span(sector).subspan<4>()));
  std::vector<std::uint64_t> regions(kRegions / 64);
  const bool is_intact = decode_region_sector(sector, 1, 0, regions);
  require(is_intact || has_region(regions, 0));
}

aio::Task<void> use(aio::Reactor& home, BitmapStore::Image image) {
  auto store = co_await BitmapStore::open(home, kPath, image);
  if (!store) co_return;
  std::vector<std::unique_ptr<DirtyBits>> bits;
  const std::vector<StoredBitmap> bitmaps = (*store)->bitmaps();
  for (const StoredBitmap& bitmap : bitmaps) {
    auto made = DirtyBits::create(image.size_bytes, bitmap.granularity_bytes);
    if (!made) co_return;
    const auto loaded = co_await (*store)->load(bitmap.name, **made);
    require(loaded || (*store)->is_inconsistent());
    bits.push_back(std::move(*made));
  }
  require((co_await (*store)->before_change({0, 1})).has_value());
  for (auto& one : bits) one->mark({0, 1});
  (*store)->after_change({0, 1});
  require((co_await (*store)->close("after")).has_value());
  const bool was_inconsistent = (*store)->is_inconsistent();
  store->reset();
  image.generation = "after";
  auto again = co_await BitmapStore::open(home, kPath, image);
  require(again && (*again)->is_inconsistent() == was_inconsistent && (*again)->bitmaps() == bitmaps);
}

aio::Task<void> change_all(BitmapStore& store, std::vector<std::unique_ptr<DirtyBits>>& bits) {
  require((co_await store.before_change({0, 1})).has_value());
  for (auto& one : bits) one->mark({0, 1});
  store.after_change({0, 1});
}

// The store is opened beside an image, crashes twice with its session, and ends it.
aio::Task<void> use_beside(aio::Reactor& home, BitmapStore::Image image) {
  auto store = co_await BitmapStore::open(home, kPath, image);
  if (!store) co_return;
  std::vector<std::unique_ptr<DirtyBits>> bits;
  if (!(*store)->has_session()) {
    image.session = 2;
    require((co_await (*store)->begin_session(image)).has_value());
    auto made = DirtyBits::create(image.size_bytes, kBlockBytes);
    if (!made) co_return;
    bits.push_back(std::move(*made));
    require((co_await (*store)->add("b", *bits.back(), true)).has_value());
  }
  for (int crash = 0; crash < 2; ++crash) {
    const std::vector<StoredBitmap> bitmaps = (*store)->bitmaps();
    if (bits.empty()) {
      for (const StoredBitmap& bitmap : bitmaps) {
        auto made = DirtyBits::create((*store)->image_bytes(), bitmap.granularity_bytes);
        if (!made) co_return;
        require((co_await (*store)->load(bitmap.name, **made)).has_value());
        bits.push_back(std::move(*made));
      }
    }
    co_await change_all(**store, bits);
    bits.clear();
    store->reset();
    store = co_await BitmapStore::open(home, kPath, image);
    require(store && (*store)->has_session() && (*store)->bitmaps() == bitmaps);
  }
  require((co_await (*store)->end_session()).has_value());
  store->reset();
  store = co_await BitmapStore::open(home, kPath, image);
  require(store && !(*store)->has_session() && (*store)->bitmaps().empty());
}

// The catalog gets the identity of a session of the image, behind all that the file has.
void bind(std::vector<std::byte>& content, StoreSuperblock& superblock, StoreCatalog catalog) {
  catalog.identity = kBoundIdentity;
  const std::vector<std::byte> encoded = encode(catalog);
  if (encoded.size() > kStoreCatalogBytesMax) return;
  superblock.catalog = {.offset = (content.size() + kStorePageBytes - 1) / kStorePageBytes * kStorePageBytes,
                        .bytes = encoded.size()};
  superblock.catalog_sum = crc32c(encoded);
  content.resize(superblock.catalog.offset);
  content.insert(content.end(), encoded.begin(), encoded.end());
}

enum class Place : bool { kAlone, kBeside };

void fuzz_file(Bytes bytes, Place place) {
  std::vector<std::byte> content(bytes.begin(), bytes.end());
  BitmapStore::Image image;
  for (std::uint64_t offset : {std::uint64_t{0}, kStorePageBytes}) {
    if (content.size() < offset + kStoreSectorBytes) return;
    const auto sector = std::span(content).subspan(offset).first<kStoreSectorBytes>();
    correct_sum(sector);
    auto superblock = decode_superblock(sector);
    if (!superblock || superblock->version != kStoreVersion) continue;
    const StoreExtent at = superblock->catalog;
    if (at.end() > content.size()) continue;
    const auto catalog = std::span(content).subspan(at.offset, at.bytes);
    superblock->catalog_sum = crc32c(catalog);
    const auto decoded = decode_catalog(catalog, at, content.size());
    if (decoded) {
      image = {.identity = decoded->identity, .size_bytes = decoded->image_bytes, .generation = superblock->generation};
      if (place == Place::kBeside) bind(content, *superblock, *decoded);
    }
    // bind() may have moved the content.
    std::ranges::copy(encode(*superblock), content.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  if (place == Place::kBeside) {
    image.identity = kImageIdentity;
    image.session = 1;
  }
  if (image.size_bytes > kImageBytesMax) return;
  aio::Simulation simulation;
  simulation.write_file(kPath, content);
  simulation.make_file("/", 0);
  const auto reactor = simulation.make_reactor();
  aio::Scope scope(*reactor);
  scope.spawn("use", place == Place::kAlone ? use(*reactor, image) : use_beside(*reactor, image));
  while (scope.size() > 0) reactor->run_once(UINT64_MAX);
}

}  // namespace
}  // namespace blockexport::block

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::block;
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data, size));
  const Bytes input = bytes.subspan(1);
  switch (std::to_integer<unsigned>(bytes[0]) % 5) {
    case 0:
      fuzz_superblock(input);
      break;
    case 1:
      fuzz_catalog(input);
      break;
    case 2:
      fuzz_sector(input);
      break;
    case 3:
      fuzz_file(input, Place::kAlone);
      break;
    default:
      fuzz_file(input, Place::kBeside);
  }
  return 0;
}
