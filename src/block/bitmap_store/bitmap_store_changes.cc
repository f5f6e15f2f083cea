// BitmapStore: changes of the list of bitmaps and of the size, and the end.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "block/bitmap/dirty_bitmap.h"
#include "block/bitmap_store/bitmap_store.h"
#include "block/bitmap_store/crc32c.h"

namespace blockexport::block {
namespace {

using Description = StoreFile::Description;
using Durability = StoreFile::Durability;

}  // namespace

Error BitmapStore::error_of(std::string_view action, Errno cause) const {
  return Error::system(fmt::format("Could not {} bitmap store '{}'", action, file_->path()), cause);
}

Result<std::size_t> BitmapStore::find(const std::string& name) const {
  const auto found = std::ranges::find(catalog_.bitmaps, name, &StoredBitmap::name);
  if (found == catalog_.bitmaps.end()) {
    return fail(fmt::format("Bitmap '{}' is not in bitmap store '{}'", name, file_->path()));
  }
  return static_cast<std::size_t>(found - catalog_.bitmaps.begin());
}

aio::Task<Result<>> BitmapStore::add(std::string name, DirtyBits& bits, bool is_enabled) {
  auto guard = co_await layout_.lock();
  if (!guard) co_return fail(error_of("change", guard.error()));
  if (IoResult able = check_can_store(); !able) co_return fail(error_of("change", able.error()));
  if (find(name)) co_return fail(fmt::format("Bitmap '{}' is in bitmap store '{}' already", name, file_->path()));
  if (name.empty() || name.size() > DirtyBitmap::kNameBytesMax) co_return fail("Bitmap name too long or empty");
  if (bits.size_bytes() != catalog_.image_bytes) co_return fail(error_of("change", Errno(ESTALE)));
  if (catalog_.bitmaps.size() >= kStoredBitmapsMax) {
    co_return fail(
        Error(fmt::format("Bitmap store '{}' has {} bitmaps, which is the limit", file_->path(), kStoredBitmapsMax))
            .with_hint("Remove bitmaps of backups that are not needed any more."));
  }
  StoreCatalog next = catalog_;
  next.bitmaps.push_back(
      {.name = std::move(name), .granularity_bytes = bits.granularity_bytes(), .is_enabled = is_enabled});
  Loaded loaded{.bits = &bits};
  IoResult result = co_await write_new_bitmap(next.bitmaps.back(), loaded, next);
  if (result) result = co_await file_->sync(Description::kBits);
  // A bitmap with a generation of the image from before its changes would look outdated after a crash.
  if (result) result = co_await begin_recording();
  if (result) result = co_await commit(std::move(next));
  if (!result) co_return fail(error_of("change", result.error()));
  loaded_.push_back(std::move(loaded));
  co_return Result<>();
}

// Allocates an area for the bitmap, which belongs to `catalog`, and writes its bits. The area overlaps neither the
// current catalog's nor those of `catalog`.
aio::Task<IoResult> BitmapStore::write_new_bitmap(StoredBitmap& bitmap, Loaded& loaded, StoreCatalog& catalog) {
  const std::optional<std::uint32_t> sectors = sectors_for(catalog.image_bytes, bitmap.granularity_bytes);
  if (!sectors) co_return fail(EFBIG);
  if (catalog.next_area_id == UINT32_MAX) co_return fail(EOVERFLOW);
  bitmap.area = {.sectors = *sectors, .id = catalog.next_area_id};
  catalog.next_area_id++;
  std::vector<StoreExtent> used = extents_of(catalog_, superblock_.catalog);
  for (const StoredBitmap& other : catalog.bitmaps) {
    if (other.area.offset != 0) used.push_back(other.area.extent());
  }
  bitmap.area.offset = find_space(std::move(used), bitmap.area.extent().bytes);
  auto stored = DirtyBits::create(catalog.image_bytes, bitmap.granularity_bytes);
  if (!stored) co_return fail(stored.error());
  auto now = loaded.bits->copy();
  if (!now) co_return fail(now.error());
  loaded.stored = std::move(*stored);
  loaded.must_rewrite = true;
  IoResult result = co_await write_pass(bitmap.area, loaded, **now, Pass::kAdd);
  loaded.stored = std::move(*now);
  loaded.must_rewrite = false;
  co_return result;
}

// Writes the catalog into free space, and then lets the superblock refer to it.
aio::Task<IoResult> BitmapStore::commit(StoreCatalog catalog) {
  const std::vector<std::byte> bytes = encode(catalog);
  std::vector<StoreExtent> used = extents_of(catalog_, superblock_.catalog);
  for (const StoredBitmap& bitmap : catalog.bitmaps) used.push_back(bitmap.area.extent());
  const StoreExtent at{.offset = find_space(std::move(used), bytes.size()), .bytes = bytes.size()};
  CO_TRY(co_await file_->write(Description::kBits, at.offset, bytes, Durability::kLater));
  CO_TRY(co_await file_->sync(Description::kBits));
  co_return co_await write_superblock_of(std::move(catalog), at, crc32c(bytes));
}

aio::Task<IoResult> BitmapStore::write_superblock_of(StoreCatalog catalog, StoreExtent at, std::uint32_t sum) {
  auto guard = co_await writes_.lock();
  if (!guard) co_return fail(guard.error());
  StoreSuperblock next = superblock_;
  next.catalog = at;
  next.catalog_sum = sum;
  // Nothing is left that could be wrong.
  const bool is_right_again = catalog.bitmaps.empty() && next.state == StoreState::kInconsistent;
  if (is_right_again) next.state = StoreState::kRecording;
  IoResult result = co_await write_superblock(std::move(next));
  if (!result) {
    // The file may have the new superblock, and so areas that further checkpoints would not update.
    is_stuck_ = true;
    // The result is the same if that fails too: then no checkpoint will reset an intent.
    if (!is_inconsistent()) (void)co_await give_up(result.error());
    co_return result;
  }
  catalog_ = std::move(catalog);
  if (is_right_again) {
    is_stuck_ = false;
    is_inconsistent_.store(false);
  }
  co_return result;
}

aio::Task<Result<>> BitmapStore::set_enabled(std::string name, bool is_enabled) {
  auto guard = co_await layout_.lock();
  if (!guard) co_return fail(error_of("change", guard.error()));
  if (IoResult able = check_can_store(); !able) co_return fail(error_of("change", able.error()));
  CO_TRY_ASSIGN(const std::size_t index, find(name));
  if (catalog_.bitmaps[index].is_enabled == is_enabled) co_return Result<>();
  StoreCatalog next = catalog_;
  next.bitmaps[index].is_enabled = is_enabled;
  IoResult result = co_await commit(std::move(next));
  if (!result) co_return fail(error_of("change", result.error()));
  co_return Result<>();
}

aio::Task<Result<>> BitmapStore::remove(std::string name) {
  return remove(std::move(name), First::kAddBits);
}

aio::Task<Result<>> BitmapStore::undo_add(std::string name) {
  return remove(std::move(name), First::kNothing);
}

aio::Task<Result<>> BitmapStore::remove(std::string name, First first) {
  auto guard = co_await layout_.lock();
  if (!guard) co_return fail(error_of("change", guard.error()));
  CO_TRY_ASSIGN(const std::size_t index, find(name));
  IoResult result;
  // Its bits may have moved to another bitmap. Those that the same change has cleared stay for now: a crash would leave
  // them cleared, in this bitmap too, as if the change had ended.
  if (first == First::kAddBits && !is_inconsistent()) result = co_await add_bits();
  StoreCatalog next = catalog_;
  next.bitmaps.erase(next.bitmaps.begin() + static_cast<std::ptrdiff_t>(index));
  if (result) result = co_await commit(std::move(next));
  if (!result) co_return fail(error_of("change", result.error()));
  loaded_.erase(loaded_.begin() + static_cast<std::ptrdiff_t>(index));
  co_return Result<>();
}

aio::Task<Result<>> BitmapStore::resize(std::uint64_t size_bytes) {
  auto guard = co_await layout_.lock();
  if (!guard) co_return fail(error_of("resize", guard.error()));
  if (is_inconsistent()) co_return Result<>();
  StoreCatalog next = catalog_;
  next.image_bytes = next.image_bytes_min = next.image_bytes_max = size_bytes;
  if (next == catalog_) co_return Result<>();
  IoResult result = is_stuck_ ? fail(EIO) : IoResult();
  if (size_bytes == catalog_.image_bytes) {
    if (result) result = co_await commit(std::move(next));
    if (!result) co_return fail(error_of("resize", result.error()));
    co_return Result<>();
  }
  std::vector<Loaded> larger;
  for (StoredBitmap& bitmap : next.bitmaps) bitmap.area.offset = 0;
  for (std::size_t index = 0; index < loaded_.size() && result; index++) {
    Loaded& loaded = larger.emplace_back(Loaded{.bits = loaded_[index].bits});
    const bool fits = loaded.bits != nullptr && loaded.bits->size_bytes() == size_bytes;
    result = fits ? co_await write_new_bitmap(next.bitmaps[index], loaded, next) : fail(EBUSY);
  }
  if (result) result = co_await file_->sync(Description::kBits);
  if (result) result = co_await commit(std::move(next));
  if (!result) co_return fail(error_of("resize", result.error()));
  loaded_ = std::move(larger);
  co_return Result<>();
}

aio::Task<IoResult> BitmapStore::expect_sizes(std::uint64_t min_bytes, std::uint64_t max_bytes) {
  auto guard = co_await layout_.lock();
  if (!guard) co_return fail(guard.error());
  if (is_inconsistent()) co_return IoResult();
  if (is_stuck_) co_return fail(EIO);
  StoreCatalog next = catalog_;
  next.image_bytes_min = std::min(next.image_bytes_min, min_bytes);
  next.image_bytes_max = std::max(next.image_bytes_max, max_bytes);
  if (next == catalog_) co_return IoResult();
  co_return co_await commit(std::move(next));
}

aio::Task<void> BitmapStore::abandon(Errno cause, const DirtyBits* bits) {
  is_stuck_ = true;
  for (Loaded& loaded : loaded_) {
    // The store keeps bits that nobody else has any more.
    if (loaded.bits == bits && bits != nullptr) loaded.bits = loaded.stored.get();
  }
  auto guard = co_await writes_.lock();
  if (guard && !is_inconsistent()) (void)co_await give_up(cause);
}

aio::Task<Result<>> BitmapStore::close(std::string generation) {
  auto guard = co_await layout_.lock();
  if (!guard) co_return fail(error_of("close", guard.error()));
  if (is_stuck_ && !is_inconsistent()) {
    auto writes = co_await writes_.lock();
    if (writes) (void)co_await give_up(Errno(EIO));
  }
  // Nothing was changed before all bitmaps were loaded, and an inconsistent store stays as it is.
  if (is_inconsistent() || !is_all_loaded()) co_return Result<>();
  if (generation.size() > kImageGenerationBytesMax) co_return fail("The generation of the image is too long");
  IoResult result = co_await store_bits(RegionIntents::Retire::kAll);
  if (result) result = co_await file_->sync(Description::kBits);
  auto writes = co_await writes_.lock();
  if (!writes) co_return fail(error_of("close", writes.error()));
  if (result) result = co_await file_->sync(Description::kIntents);
  if (result && superblock_.state == StoreState::kRecording) {
    StoreSuperblock next = superblock_;
    next.state = StoreState::kClean;
    next.generation = std::move(generation);
    result = co_await write_superblock(std::move(next));
  }
  if (!result) {
    co_return fail(error_of("close", result.error())
                       .with_hint("The regions that were written last will be dirty when it is opened again."));
  }
  co_return Result<>();
}

aio::Task<IoResult> BitmapStore::forget_bitmaps(StoreCatalog next) {
  next.bitmaps.clear();
  CO_TRY(co_await commit(std::move(next)));
  loaded_.clear();
  co_return IoResult();
}

aio::Task<Result<>> BitmapStore::end_session() {
  {
    auto guard = co_await layout_.lock();
    if (!guard) co_return fail(error_of("close", guard.error()));
    if (IoResult result = co_await forget_bitmaps(catalog_); !result) co_return fail(error_of("close", result.error()));
  }
  co_return co_await close({});
}

aio::Task<Result<>> BitmapStore::destroy() {
  auto guard = co_await layout_.lock();
  if (!guard) co_return fail(error_of("remove", guard.error()));
  auto writes = co_await writes_.lock();
  if (!writes) co_return fail(error_of("remove", writes.error()));
  superblock_.state = StoreState::kInconsistent;
  is_inconsistent_.store(true);
  // An empty file is no store, so the bitmaps are gone even if its name is not.
  IoResult result = co_await file_->truncate();
  if (result) result = co_await file_->unlink();
  if (result) result = co_await file_->sync_directory();
  if (!result) co_return fail(error_of("remove", result.error()));
  co_return Result<>();
}

}  // namespace blockexport::block
