// BitmapStore: creation, opening, and loading of the stored bits.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "block/bitmap_store/bitmap_store.h"
#include "block/bitmap_store/crc32c.h"
#include "block/bitmap_store/region_bits.h"

namespace blockexport::block {
namespace {

using Description = StoreFile::Description;
using Durability = StoreFile::Durability;

// Sectors that are read at a time.
constexpr std::size_t kSectorsPerRead = 256;

constexpr std::string_view kStartAgain = "Remove the file to begin with new bitmaps, and make a full backup.";

Error refusal(const StoreFile& file, std::string_view reason, std::string_view hint) {
  return Error(fmt::format("Bitmap store '{}' cannot be used: {}", file.path(), reason)).with_hint(std::string(hint));
}

Error cannot(std::string_view verb, const StoreFile& file, Errno cause) {
  return Error::system(fmt::format("Could not {} bitmap store '{}'", verb, file.path()), cause);
}

// The identity in the catalog of an image with sessions has two more lines: one for the file of the store, so that a
// copy is another store, and the number of the session.
std::string prefix_of(const BitmapStore::Image& image) {
  return image.identity + "\nstore ";
}

std::string identity_of(const StoreFile& file, const BitmapStore::Image& image) {
  if (!image.session) return image.identity;
  return fmt::format("{}{}\nsession {:08x}", prefix_of(image), file.identity(), *image.session);
}

Result<> check_image(const StoreFile& file, const BitmapStore::Image& image) {
  if (identity_of(file, image).size() > kImageIdentityBytesMax) return fail("The identity of the image is too long");
  if (image.generation.size() > kImageGenerationBytesMax) return fail("The generation of the image is too long");
  if (image.size_bytes > static_cast<std::uint64_t>(INT64_MAX)) return fail("The image is too large");
  return {};
}

// The current one of the two superblocks.
aio::Task<Result<StoreSuperblock>> read_superblock(StoreFile& file) {
  std::optional<StoreSuperblock> current;
  std::optional<SuperblockFault> fault;
  if (file.size_bytes() < kStoreHeadBytes) {
    co_return fail(refusal(file, file.size_bytes() == 0 ? "it is empty" : "it is truncated", kStartAgain));
  }
  for (std::uint64_t offset : {std::uint64_t{0}, kStorePageBytes}) {
    StoreSector sector;
    if (IoResult result = co_await file.read(offset, sector); !result) {
      co_return fail(cannot("read", file, result.error()));
    }
    auto decoded = decode_superblock(sector);
    // Otherwise the next superblock would overwrite the current one.
    if (decoded && decoded->sequence % 2 * kStorePageBytes != offset) {
      decoded = std::unexpected(SuperblockFault::kDamaged);
    }
    if (decoded && (!current || decoded->sequence > current->sequence)) current = std::move(*decoded);
    if (!decoded && (!fault || decoded.error() > *fault)) fault = decoded.error();
  }
  if (!current && fault == SuperblockFault::kEmpty) {
    co_return fail(refusal(file, "its creation was interrupted", kStartAgain));
  }
  if (!current && fault == SuperblockFault::kForeign) {
    co_return fail(refusal(file, "it is no bitmap store", "Check the path: another file is there."));
  }
  if (!current) co_return fail(refusal(file, "its superblocks are damaged", kStartAgain));
  if (const std::string reason = check_supported(*current); !reason.empty()) {
    co_return fail(refusal(file, reason, "Use the version of the program that made it, or a newer one."));
  }
  co_return std::move(*current);
}

aio::Task<Result<StoreCatalog>> read_catalog(StoreFile& file, const StoreSuperblock& superblock) {
  if (superblock.catalog.end() > file.size_bytes()) co_return fail(refusal(file, "it is truncated", kStartAgain));
  std::vector<std::byte> bytes(superblock.catalog.bytes);
  if (IoResult result = co_await file.read(superblock.catalog.offset, bytes); !result) {
    co_return fail(cannot("read", file, result.error()));
  }
  if (crc32c(bytes) != superblock.catalog_sum) co_return fail(refusal(file, "its catalog is damaged", kStartAgain));
  auto catalog = decode_catalog(bytes, superblock.catalog, file.size_bytes());
  if (!catalog) co_return fail(refusal(file, catalog.error(), kStartAgain));
  co_return std::move(*catalog);
}

std::string_view scope_of(std::string_view generation) {
  const std::size_t end = generation.find('\n');
  return end == std::string_view::npos ? std::string_view() : generation.substr(0, end);
}

// True if nothing shows that the image changed in between.
bool is_same_generation(std::string_view stored, std::string_view now) {
  return stored == now || scope_of(stored) != scope_of(now);
}

// True if the file has no superblock: an interrupted creation leaves none, because they are written last.
aio::Task<Result<bool>> has_blank_head(StoreFile& file) {
  std::vector<std::byte> head(std::min(file.size_bytes(), kStoreHeadBytes));
  if (IoResult result = co_await file.read(0, head); !result) co_return fail(cannot("read", file, result.error()));
  co_return std::ranges::all_of(head, [](std::byte byte) { return byte == std::byte{0}; });
}

// Checks that the store belongs to the image as it is now.
Result<> check_match(const StoreFile& file, const StoreSuperblock& superblock, const StoreCatalog& catalog,
                     const BitmapStore::Image& image) {
  if (catalog.bitmaps.empty()) return {};
  // The bitmaps of a session are in the image too, at least as inconsistent ones.
  if (image.session && catalog.identity.starts_with(prefix_of(image))) return {};
  if (catalog.identity != identity_of(file, image)) {
    return fail(refusal(file, "it belongs to another image", "Check the path of the store and of the image."));
  }
  // Its bits are not read, whatever they are of.
  if (superblock.state == StoreState::kInconsistent) return {};
  if (image.size_bytes < catalog.image_bytes_min || image.size_bytes > catalog.image_bytes_max) {
    return fail(refusal(file,
                        fmt::format("the image has {} bytes, and had {} when its bitmaps were stored", image.size_bytes,
                                    catalog.image_bytes),
                        kStartAgain));
  }
  if (superblock.state == StoreState::kClean && !is_same_generation(superblock.generation, image.generation)) {
    return fail(refusal(file, "the image was changed without its bitmaps, which therefore miss changes", kStartAgain));
  }
  return {};
}

// Checks that the store has recorded every change since the session of the image began.
bool is_of_session(const StoreFile& file, const StoreSuperblock& superblock, const StoreCatalog& catalog,
                   const BitmapStore::Image& image) {
  return image.session.value_or(0) != 0 && superblock.state == StoreState::kRecording &&
         catalog.identity == identity_of(file, image) && image.size_bytes >= catalog.image_bytes_min &&
         image.size_bytes <= catalog.image_bytes_max;
}

void mark_words(std::span<const std::uint64_t> words, std::uint64_t first_granule, DirtyBits& bits) {
  const std::uint64_t granularity_bytes = bits.granularity_bytes();
  for (std::size_t number = 0; number < words.size(); number++) {
    std::uint64_t left = little_endian(words[number]);
    while (left != 0) {
      const int begin = std::countr_zero(left);
      const int count = std::countr_one(left >> begin);
      const std::uint64_t granule = first_granule + number * 64 + static_cast<unsigned>(begin);
      bits.mark({granule * granularity_bytes, static_cast<unsigned>(count) * granularity_bytes});
      if (begin + count == 64) break;
      left &= UINT64_MAX << (begin + count);
    }
  }
}

}  // namespace

Result<std::unique_ptr<BitmapStore>> BitmapStore::with_file(aio::Reactor& home, std::unique_ptr<StoreFile> file,
                                                            std::uint64_t region_bytes) {
  auto intents = RegionIntents::create(region_bytes);
  if (!intents) return fail(cannot("open", *file, intents.error()));
  return std::unique_ptr<BitmapStore>(new BitmapStore(home, std::move(file), std::move(*intents)));
}

aio::Task<Result<std::unique_ptr<BitmapStore>>> BitmapStore::create(aio::Reactor& home, std::string path, Image image,
                                                                    std::uint64_t region_bytes) {
  assert(is_region(region_bytes));
  CO_TRY_ASSIGN(std::unique_ptr<StoreFile> file, co_await StoreFile::open(home, std::move(path), true));
  CO_TRY(check_image(*file, image));
  CO_TRY_ASSIGN(const bool is_blank, co_await has_blank_head(*file));
  if (!is_blank) {
    co_return fail(Error(fmt::format("Could not create bitmap store '{}': the file exists", file->path()))
                       .with_hint("Open it, or remove it to begin with new bitmaps."));
  }
  co_return co_await create_in(home, std::move(file), std::move(image), region_bytes);
}

aio::Task<Result<std::unique_ptr<BitmapStore>>> BitmapStore::create_in(aio::Reactor& home,
                                                                       std::unique_ptr<StoreFile> file, Image image,
                                                                       std::uint64_t region_bytes) {
  CO_TRY_ASSIGN(std::unique_ptr<BitmapStore> store, with_file(home, std::move(file), region_bytes));
  store->catalog_ = {.image_bytes = image.size_bytes,
                     .image_bytes_min = image.size_bytes,
                     .image_bytes_max = image.size_bytes,
                     .region_bytes = region_bytes,
                     .next_area_id = 2,
                     .identity = std::move(image.identity),
                     .intents = {.offset = kStoreHeadBytes, .sectors = kIntentSectors, .id = 1}};
  if (IoResult result = co_await store->write_new_file(std::move(image.generation)); !result) {
    co_return fail(cannot("create", *store->file_, result.error()));
  }
  co_return std::move(store);
}

// Every block of the file is written once, so that later writes of it need no new space on most file systems.
aio::Task<IoResult> BitmapStore::write_new_file(std::string generation) {
  const std::vector<std::byte> zeros(kStoreHeadBytes);
  CO_TRY(co_await file_->write(Description::kBits, 0, zeros, Durability::kLater));
  std::vector<std::byte> sectors;
  encode_region_sectors(stable_, catalog_.intents.id, {.first = 0, .count = kIntentSectors}, sectors);
  CO_TRY(co_await file_->write(Description::kBits, catalog_.intents.offset, sectors, Durability::kLater));
  const std::vector<std::byte> catalog = encode(catalog_);
  const StoreExtent at{.offset = find_space({catalog_.intents.extent()}, catalog.size()), .bytes = catalog.size()};
  CO_TRY(co_await file_->write(Description::kBits, at.offset, catalog, Durability::kLater));
  CO_TRY(co_await file_->sync(Description::kBits));
  StoreSuperblock first{.catalog = at, .catalog_sum = crc32c(catalog), .generation = std::move(generation)};
  CO_TRY(co_await write_superblock(std::move(first)));
  co_return co_await file_->sync_directory();
}

aio::Task<Result<std::unique_ptr<BitmapStore>>> BitmapStore::open(aio::Reactor& home, std::string path, Image image) {
  CO_TRY_ASSIGN(std::unique_ptr<StoreFile> file, co_await StoreFile::open(home, std::move(path), false));
  CO_TRY(check_image(*file, image));
  co_return co_await open_in(home, std::move(file), std::move(image));
}

aio::Task<Result<std::unique_ptr<BitmapStore>>> BitmapStore::open_or_create(aio::Reactor& home, std::string path,
                                                                            Image image) {
  CO_TRY_ASSIGN(std::unique_ptr<StoreFile> file, co_await StoreFile::open(home, std::move(path), true));
  CO_TRY(check_image(*file, image));
  // A store that could not be made inconsistent in any other way is empty. An image with sessions has its bitmaps
  // itself, as inconsistent ones then.
  bool is_new = file->is_created() || (image.session && file->size_bytes() == 0);
  if (!is_new && file->size_bytes() > 0) {
    CO_TRY_ASSIGN(is_new, co_await has_blank_head(*file));
  }
  if (!is_new) co_return co_await open_in(home, std::move(file), std::move(image));
  const std::uint64_t region_bytes = region_bytes_for(image.size_bytes);
  co_return co_await create_in(home, std::move(file), std::move(image), region_bytes);
}

aio::Task<Result<std::unique_ptr<BitmapStore>>> BitmapStore::open_in(aio::Reactor& home,
                                                                     std::unique_ptr<StoreFile> file, Image image) {
  CO_TRY_ASSIGN(StoreSuperblock superblock, co_await read_superblock(*file));
  CO_TRY_ASSIGN(StoreCatalog catalog, co_await read_catalog(*file, superblock));
  CO_TRY(check_match(*file, superblock, catalog, image));
  CO_TRY_ASSIGN(std::unique_ptr<BitmapStore> store, with_file(home, std::move(file), catalog.region_bytes));
  store->is_inconsistent_ = superblock.state == StoreState::kInconsistent;
  store->recovery_.was_recording = superblock.state == StoreState::kRecording;
  store->has_session_ = is_of_session(*store->file_, superblock, catalog, image);
  store->superblock_ = std::move(superblock);
  store->catalog_ = std::move(catalog);
  if (store->catalog_.bitmaps.empty() && !image.session) {
    // It is stored with the first bitmap.
    store->catalog_.identity = std::move(image.identity);
    store->catalog_.image_bytes = store->catalog_.image_bytes_min = store->catalog_.image_bytes_max = image.size_bytes;
  }
  store->loaded_.resize(store->catalog_.bitmaps.size());
  // Writes of a killed user may be in the page cache only, and the rest of the file may rely on them.
  if (IoResult synced = co_await store->file_->sync(Description::kIntents); !synced) {
    // Linux reports it once, so another opening would not see that the file lost writes. It cannot be used either way.
    (void)co_await store->give_up(synced.error());
    co_return fail(cannot("sync", *store->file_, synced.error()));
  }
  if (IoResult result = co_await store->read_intents(); !result) {
    co_return fail(cannot("read", *store->file_, result.error()));
  }
  co_return std::move(store);
}

aio::Task<Result<>> BitmapStore::begin_session(Image image) {
  CO_TRY(check_image(*file_, image));
  auto guard = co_await layout_.lock();
  if (!guard) co_return fail(error_of("change", guard.error()));
  has_session_ = false;
  const std::string identity = identity_of(*file_, image);
  StoreCatalog next = catalog_;
  next.image_bytes = next.image_bytes_min = next.image_bytes_max = image.size_bytes;
  next.region_bytes = region_bytes_for(image.size_bytes);
  image.session = 0;
  next.identity = identity_of(*file_, image);
  auto intents = RegionIntents::create(next.region_bytes);
  if (!intents) co_return fail(error_of("change", intents.error()));
  // A kill may have come between the creation of the file and the sync of its name.
  IoResult result = co_await file_->sync_directory();
  if (result) result = co_await forget_bitmaps(next);
  // Without bitmaps nothing relies on the intents that the file has; their sectors may be damaged, or missing.
  if (result) result = co_await rewrite_intents();
  if (result) result = co_await begin_recording();
  // Last, so that a store that could not do all of this has no session.
  next.identity = identity;
  if (result) result = co_await forget_bitmaps(std::move(next));
  if (!result) co_return fail(error_of("change", result.error()));
  intents_ = std::move(*intents);
  recovery_ = {};
  is_stuck_ = false;
  has_session_ = true;
  co_return Result<>();
}

aio::Task<IoResult> BitmapStore::rewrite_intents() {
  auto guard = co_await writes_.lock();
  if (!guard) co_return fail(guard.error());
  std::ranges::fill(stable_, 0);
  const RegionBits all(kRegions / 64, UINT64_MAX);
  co_return co_await write_intent_sectors(all, stable_, StoreFile::Durability::kNow);
}

aio::Task<IoResult> BitmapStore::read_intents() {
  std::vector<std::byte> bytes(kIntentSectors * kStoreSectorBytes);
  CO_TRY(co_await file_->read(catalog_.intents.offset, bytes));
  for (std::uint32_t index = 0; index < kIntentSectors; index++) {
    const auto sector = std::span(bytes).subspan(index * kStoreSectorBytes).first<kStoreSectorBytes>();
    if (!decode_region_sector(sector, catalog_.intents.id, index, stable_)) recovery_.damaged_sectors++;
  }
  for_each_region(stable_, [this](std::uint64_t region) {
    if (intents_.range_of(region).offset < catalog_.image_bytes) recovery_.dirty_regions++;
  });
  co_return IoResult();
}

aio::Task<Result<>> BitmapStore::load(std::string name, DirtyBits& bits) {
  auto guard = co_await layout_.lock();
  if (!guard) co_return fail(error_of("read", guard.error()));
  CO_TRY_ASSIGN(const std::size_t index, find(name));
  const StoredBitmap& bitmap = catalog_.bitmaps[index];
  if (is_inconsistent()) {
    co_return fail(
        refusal(*file_, fmt::format("changes could not be recorded: {}", errno_text(failure().value())), kStartAgain));
  }
  if (bits.size_bytes() != catalog_.image_bytes || bits.granularity_bytes() != bitmap.granularity_bytes) {
    co_return fail(fmt::format("Bitmap '{}' was stored with another size or granularity", name));
  }
  auto stored = DirtyBits::create(bits.size_bytes(), bits.granularity_bytes());
  if (!stored) co_return fail(error_of("read", stored.error()));
  if (IoResult result = co_await read_bits(bitmap, **stored); !result) co_return fail(error_of("read", result.error()));
  bits.merge(**stored);
  // All intents, also those of a clean store: a change that never reported its end keeps its intent.
  for_each_region(stable_, [&](std::uint64_t region) { bits.mark(intents_.range_of(region)); });
  loaded_[index] = {.bits = &bits, .stored = std::move(*stored)};
  co_return Result<>();
}

aio::Task<IoResult> BitmapStore::read_bits(const StoredBitmap& bitmap, DirtyBits& bits) {
  std::vector<std::byte> bytes;
  for (std::uint32_t first = 0; first < bitmap.area.sectors; first += kSectorsPerRead) {
    const std::size_t count = std::min<std::size_t>(kSectorsPerRead, bitmap.area.sectors - first);
    bytes.resize(count * kStoreSectorBytes);
    CO_TRY(co_await file_->read(bitmap.area.offset + std::uint64_t{first} * kStoreSectorBytes, bytes));
    for (std::size_t number = 0; number < count; number++) {
      const auto sector = std::span(bytes).subspan(number * kStoreSectorBytes).first<kStoreSectorBytes>();
      const auto index = static_cast<std::uint32_t>(first + number);
      std::array<std::uint64_t, kSectorWords> words;
      if (!decode_sector(sector, bitmap.area.id, index, words)) {
        words.fill(UINT64_MAX);
        recovery_.damaged_sectors++;
      }
      mark_words(words, index * kSectorBits, bits);
    }
  }
  co_return IoResult();
}

}  // namespace blockexport::block
