// BitmapStore: checkpoints, which write the bits and then retire intents. docs/bitmap-store.md has the proof.
#include <algorithm>
#include <array>
#include <utility>

#include "aio/task/current.h"
#include "block/bitmap_store/bitmap_store.h"
#include "block/bitmap_store/region_bits.h"

namespace blockexport::block {
namespace {

// Sectors that are compared, and written, at a time.
constexpr std::size_t kSectorsPerStep = 256;
// Steps without a write after which other tasks have their turn.
constexpr std::size_t kStepsPerTurn = 16;

using SectorWords = std::array<std::uint64_t, kSectorWords>;

// The words of one sector; those behind the end are 0.
SectorWords words_of(const DirtyBits& bits, std::uint64_t sector) {
  SectorWords words{};
  const std::uint64_t first = sector * kSectorWords;
  if (first < bits.word_count()) {
    bits.copy_words(first, std::span(words).first(std::min<std::uint64_t>(kSectorWords, bits.word_count() - first)));
  }
  return words;
}

bool has_more(const SectorWords& words, const SectorWords& than) {
  for (std::size_t word = 0; word < words.size(); word++) {
    if ((words[word] & ~than[word]) != 0) return true;
  }
  return false;
}

}  // namespace

IoResult BitmapStore::check_can_store() const {
  if (is_inconsistent()) return fail(failure().value_or(Errno(EIO)));
  if (is_stuck_) return fail(EIO);
  if (!is_all_loaded()) return fail(EBUSY);
  // A resize of the bits that the store does not know of yet.
  const bool fits = std::ranges::all_of(
      loaded_, [this](const Loaded& one) { return one.bits->size_bytes() == catalog_.image_bytes; });
  return fits ? IoResult() : fail(ESTALE);
}

aio::Task<IoResult> BitmapStore::checkpoint(RegionIntents::Retire which) {
  auto guard = co_await layout_.lock();
  if (!guard) co_return fail(guard.error());
  co_return co_await store_bits(which);
}

aio::Task<void> BitmapStore::checkpoint_regularly(std::uint64_t interval_ns) {
  while (co_await home_.sleep_until(home_.now_ns() + interval_ns)) {
    auto guard = co_await regular_.lock();
    if (!guard) co_return;
    if (is_up_to_date()) continue;
    const IoResult result = co_await checkpoint();
    checkpoint_error_ = result ? std::nullopt : std::optional(result.error());
  }
}

bool BitmapStore::is_up_to_date() const {
  if (is_inconsistent() || is_stuck_) return true;
  const bool has_intents = std::ranges::any_of(stable_, [](std::uint64_t word) { return word != 0; });
  return !has_intents && std::ranges::all_of(loaded_, [](const Loaded& one) {
    return one.bits != nullptr && !one.must_rewrite && one.bits->dirty_bytes() == one.stored->dirty_bytes();
  });
}

aio::Task<IoResult> BitmapStore::store_bits(RegionIntents::Retire which) {
  CO_TRY(check_can_store());
  // Retires first and copies then, in one turn: a change that is not under way any more has marked its bits, and one
  // that comes later needs a new intent.
  retire_intents(which);
  Snapshots snapshots;
  IoResult result = copy_bits(snapshots);
  if (result) result = co_await write_passes(snapshots, Passes::kAddAndRemove);
  if (result) {
    for (std::size_t index = 0; index < loaded_.size(); index++) {
      loaded_[index].stored = std::move(snapshots[index]);
      loaded_[index].must_rewrite = false;
    }
    result = co_await forget_intents();
  }
  // Empty already after a success. After an error the intents stay in the file.
  std::ranges::fill(retiring_, 0);
  co_return result;
}

aio::Task<IoResult> BitmapStore::add_bits() {
  CO_TRY(check_can_store());
  Snapshots snapshots;
  CO_TRY(copy_bits(snapshots));
  CO_TRY(co_await write_passes(snapshots, Passes::kAdd));
  for (std::size_t index = 0; index < loaded_.size(); index++) {
    loaded_[index].stored->merge(*snapshots[index]);
    loaded_[index].must_rewrite = false;
  }
  co_return IoResult();
}

IoResult BitmapStore::copy_bits(Snapshots& snapshots) const {
  for (const Loaded& loaded : loaded_) {
    auto copy = loaded.bits->copy();
    if (!copy) return fail(copy.error());
    snapshots.push_back(std::move(*copy));
  }
  return {};
}

void BitmapStore::retire_intents(RegionIntents::Retire which) {
  for_each_region(stable_, [&](std::uint64_t region) {
    if (intents_.retire(region, which)) set_region(retiring_, region);
  });
}

// Bits that are missing in the file are added to all bitmaps before any bit is removed from one, because a bit may have
// moved from one bitmap to another.
aio::Task<IoResult> BitmapStore::write_passes(const Snapshots& snapshots, Passes passes) {
  IoResult result;
  for (Pass pass : {Pass::kAdd, Pass::kRemove}) {
    if (pass == Pass::kRemove && passes == Passes::kAdd) break;
    for (std::size_t index = 0; index < loaded_.size() && result; index++) {
      result = co_await write_pass(catalog_.bitmaps[index].area, loaded_[index], *snapshots[index], pass);
    }
    if (result && pass == Pass::kAdd) result = co_await file_->sync(StoreFile::Description::kBits);
  }
  if (result) co_return result;
  for (std::size_t index = 0; index < loaded_.size(); index++) {
    loaded_[index].stored->merge(*snapshots[index]);
    loaded_[index].must_rewrite = true;
  }
  co_return result;
}

// Writes the sectors whose bits differ from those in the file: with the bits of both in the first pass, with the bits
// of `now` in the second one.
aio::Task<IoResult> BitmapStore::write_pass(const StoreArea& area, const Loaded& loaded, const DirtyBits& now,
                                            Pass pass) {
  const bool adds = pass == Pass::kAdd;
  std::vector<std::byte> bytes;
  for (std::uint64_t first = 0, step = 1; first < area.sectors; first += kSectorsPerStep, step++) {
    const std::uint64_t end = std::min<std::uint64_t>(first + kSectorsPerStep, area.sectors);
    std::uint64_t run_begin = first;
    bytes.clear();
    for (std::uint64_t sector = first; sector <= end; sector++) {
      const SectorWords wanted = sector < end ? words_of(now, sector) : SectorWords{};
      const SectorWords stored = sector < end ? words_of(*loaded.stored, sector) : SectorWords{};
      const bool differs = adds ? loaded.must_rewrite || has_more(wanted, stored) : has_more(stored, wanted);
      if (sector < end && differs) {
        SectorWords content = wanted;
        for (std::size_t word = 0; adds && word < content.size(); word++) content[word] |= stored[word];
        if (bytes.empty()) run_begin = sector;
        bytes.resize(bytes.size() + kStoreSectorBytes);
        encode_sector(std::span(bytes).last<kStoreSectorBytes>(), area.id, static_cast<std::uint32_t>(sector), content);
        continue;
      }
      if (bytes.empty()) continue;
      CO_TRY(co_await file_->write(StoreFile::Description::kBits, area.offset + run_begin * kStoreSectorBytes, bytes,
                                   StoreFile::Durability::kLater));
      bytes.clear();
    }
    if (step % kStepsPerTurn == 0) co_await aio::next_turn();
  }
  co_return IoResult();
}

// Resets the intents of regions that have stayed retired. Needs no sync: a file that still has them is right too.
aio::Task<IoResult> BitmapStore::forget_intents() {
  auto guard = co_await writes_.lock();
  if (!guard) co_return fail(guard.error());
  if (is_inconsistent()) co_return fail(failure().value_or(Errno(EIO)));
  const RegionBits gone = std::exchange(retiring_, RegionBits(kRegions / 64));
  for (std::size_t word = 0; word < gone.size(); word++) stable_[word] &= ~gone[word];
  co_return co_await write_intent_sectors(gone, stable_, StoreFile::Durability::kLater);
}

}  // namespace blockexport::block
