// BitmapStore: intents, superblocks, and the end of a store that cannot record changes.
#include "block/bitmap_store/bitmap_store.h"

#include <algorithm>
#include <utility>

#include "aio/task/current.h"
#include "aio/threads/data_reactor.h"
#include "block/bitmap_store/region_bits.h"

namespace blockexport::block {

BitmapStore::BitmapStore(aio::Reactor& home, std::unique_ptr<StoreFile> file, RegionIntents intents)
    : home_(home),
      changes_(home),
      file_(std::move(file)),
      intents_(std::move(intents)),
      regular_(home),
      layout_(home),
      writes_(home),
      stable_(kRegions / 64),
      wanted_(kRegions / 64),
      retiring_(kRegions / 64) {}

std::optional<Errno> BitmapStore::failure() const {
  if (superblock_.state != StoreState::kInconsistent) return std::nullopt;
  return Errno(superblock_.error == 0 ? EIO : static_cast<int>(superblock_.error));
}

bool BitmapStore::is_all_loaded() const {
  return std::ranges::all_of(loaded_, [](const Loaded& loaded) { return loaded.bits != nullptr; });
}

aio::Task<IoResult> BitmapStore::begin_recording() {
  auto guard = co_await writes_.lock();
  if (!guard) co_return fail(guard.error());
  co_return co_await start_recording();
}

aio::Task<IoResult> BitmapStore::start_recording() {
  if (superblock_.state != StoreState::kClean) co_return IoResult();
  if (!is_all_loaded()) co_return fail(EBUSY);
  StoreSuperblock next = superblock_;
  next.state = StoreState::kRecording;
  next.generation.clear();
  co_return co_await write_superblock(std::move(next));
}

IoResult BitmapStore::try_before_change(Range range) {
  if (range.empty()) return {};
  const Regions regions = intents_.regions_of(range);
  if (intents_.enter(regions)) [[likely]]
    return {};
  if (!is_inconsistent()) return fail(EAGAIN);
  intents_.hold(regions);
  return {};
}

aio::Task<IoResult> BitmapStore::before_change(Range range) {
  if (range.empty()) co_return IoResult();
  const Regions regions = intents_.regions_of(range);
  // Counted first, so that no checkpoint retires the intents between their write and the change.
  intents_.hold(regions);
  IoResult result;
  co_await aio::run_on(home_, changes_, "intent of a bitmap store", make_durable(regions, result));
  if (!result) intents_.leave(regions);
  co_return result;
}

void BitmapStore::after_change(Range range) {
  if (!range.empty()) intents_.leave(intents_.regions_of(range));
}

// Changes that come while a write is under way wait for the lock together. The first of them then writes the intents of
// all, and the others find theirs durable.
aio::Task<void> BitmapStore::make_durable(Regions regions, IoResult& result) {
  if (is_inconsistent() || !want(regions)) co_return;
  auto guard = co_await writes_.lock();
  if (!guard) {
    result = fail(guard.error());
    co_return;
  }
  // Wants them again, because they may belong to a write that has failed.
  if (is_inconsistent() || !want(regions)) co_return;
  result = co_await write_intents();
}

// Notes the regions whose intents are not durable. False: there is none.
bool BitmapStore::want(Regions regions) {
  bool any = false;
  for (std::uint64_t region = regions.first; region <= regions.last; region++) {
    if (intents_.is_durable(region)) {
      // A change may have noted it again while its intent was being written.
      reset_region(wanted_, region);
      continue;
    }
    if (superblock_.state == StoreState::kRecording && has_region(stable_, region)) {
      // The file still has the intent: a checkpoint under way wanted to reset it, or an earlier user left it.
      reset_region(retiring_, region);
      intents_.set_durable(region);
      continue;
    }
    set_region(wanted_, region);
    any = true;
  }
  return any;
}

aio::Task<IoResult> BitmapStore::write_intents() {
  if (!is_all_loaded()) co_return fail(EBUSY);
  IoResult result = co_await start_recording();
  if (!result) co_return co_await give_up(result.error());
  const RegionBits batch = std::exchange(wanted_, RegionBits(kRegions / 64));
  // They are not in stable_ before they are durable, because want() trusts it.
  RegionBits content = stable_;
  for (std::size_t word = 0; word < batch.size(); word++) content[word] |= batch[word];
  result = co_await write_intent_sectors(batch, content, StoreFile::Durability::kNow);
  if (!result) co_return co_await give_up(result.error());
  for_each_region(batch, [this](std::uint64_t region) {
    set_region(stable_, region);
    intents_.set_durable(region);
  });
  co_return IoResult();
}

// Writes `content` into those sectors of the intent area that have a bit in `changed`. Neighbours go into one write,
// and all writes share one sync.
aio::Task<IoResult> BitmapStore::write_intent_sectors(const RegionBits& changed, const RegionBits& content,
                                                      StoreFile::Durability durability) {
  using Description = StoreFile::Description;
  const std::vector<SectorRun> runs = runs_of_sectors(changed);
  const bool is_one = runs.size() == 1;
  std::vector<std::byte> bytes;
  for (const SectorRun& run : runs) {
    encode_region_sectors(content, catalog_.intents.id, run, bytes);
    const std::uint64_t offset = catalog_.intents.offset + run.first * kStoreSectorBytes;
    IoResult result = co_await file_->write(Description::kIntents, offset, bytes,
                                            is_one ? durability : StoreFile::Durability::kLater);
    if (!result) co_return result;
  }
  if (is_one || durability == StoreFile::Durability::kLater) co_return IoResult();
  co_return co_await file_->sync(Description::kIntents);
}

// The two superblocks are written in turn, so that one of them is always intact.
aio::Task<IoResult> BitmapStore::write_superblock(StoreSuperblock next) {
  next.sequence = superblock_.sequence + 1;
  const StoreSector sector = encode(next);
  const std::uint64_t offset = next.sequence % 2 * kStorePageBytes;
  IoResult result =
      co_await file_->write(StoreFile::Description::kIntents, offset, sector, StoreFile::Durability::kNow);
  if (result) superblock_ = std::move(next);
  co_return result;
}

aio::Task<IoResult> BitmapStore::give_up(Errno cause) {
  StoreSuperblock next = superblock_;
  next.state = StoreState::kInconsistent;
  next.error = static_cast<std::uint32_t>(cause.value());
  next.generation.clear();
  IoResult result = co_await write_superblock(next);
  if (!result) {
    // A full file system that never overwrites a block in place can still make a file shorter.
    result = co_await file_->truncate();
    if (!result) co_return fail(cause);
    superblock_ = std::move(next);
  }
  is_inconsistent_.store(true);
  co_return IoResult();
}

}  // namespace blockexport::block
