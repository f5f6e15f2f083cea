// A bitmap store under random changes, clears, merges, checkpoints and changes of its list, on several simulated
// reactors; crashes at random moments, with and without a loss of power. A model knows which blocks must be dirty
// afterwards, and which may be.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/interleaving.h"
#include "aio/testing/seeds.h"
#include "block/bitmap_store/bitmap_store.h"

namespace blockexport::block {
namespace {

using aio::Random;
using aio::Task;

constexpr const char* kPath = "/store";
constexpr std::uint64_t kBlock = 32u << 10;
constexpr std::uint64_t kRegion = kRegionBytesMin;
// Its intents are in two pages, and the bits of a bitmap in many sectors.
constexpr std::uint64_t kSize = 9 * kSectorBits * kRegion - 5 * 512;
constexpr std::uint64_t kBlocks = (kSize + kBlock - 1) / kBlock;
constexpr std::uint64_t kSpots = 40;  // parts of the image that are changed
constexpr std::uint64_t kPauseNsMax = 2'000'000;
constexpr int kSessions = 6;

std::uint64_t seeds() {
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 5'000 : aio::testing::seeds_here(60);
}

enum class End : std::uint8_t { kPowerCut, kKill, kClose };

std::unique_ptr<DirtyBits> make_bits(std::uint32_t granularity_bytes) {
  auto made = DirtyBits::create(kSize, granularity_bytes);
  if (!made) std::abort();
  return std::move(*made);
}
std::unique_ptr<DirtyBits> copy_of(const DirtyBits& bits) {
  auto made = bits.copy();
  if (!made) std::abort();
  return std::move(*made);
}
Range block_range(std::uint64_t block) {
  return {block * kBlock, std::min(kBlock, kSize - block * kBlock)};
}
bool is_dirty(const DirtyBits& bits, std::uint64_t block) {
  return bits.find_clean(block_range(block)) == block_range(block).end();
}
bool covers(const DirtyBits& all, const DirtyBits& some) {
  std::uint64_t offset = 0;
  while (std::optional<Range> run = some.next_dirty({offset, kSize - offset})) {
    if (all.find_clean(*run) != run->end()) return false;
    offset = run->end();
  }
  return true;
}
std::vector<std::uint64_t> words_of(const DirtyBits& bits) {
  std::vector<std::uint64_t> words(bits.word_count());
  bits.copy_words(0, words);
  return words;
}

// A bitmap, and the promises about it.
struct Tracked {
  explicit Tracked(std::uint32_t granularity_bytes)
      : bits(make_bits(granularity_bytes)),
        recent(make_bits(granularity_bytes)),
        since_start(make_bits(granularity_bytes)),
        ever(make_bits(granularity_bytes)) {}

  void note(Range range) {
    recent->mark(range);
    since_start->mark(range);
    ever->mark(range);
  }
  void note_all_bits() {
    recent->merge(*bits);
    since_start->merge(*bits);
    ever->merge(*bits);
  }

  std::unique_ptr<DirtyBits> bits;
  std::vector<bool> must = std::vector<bool>(kBlocks);
  // Dirty at some time since the last checkpoint began that succeeded, since the last one began, in this session.
  std::unique_ptr<DirtyBits> recent;
  std::unique_ptr<DirtyBits> since_start;
  std::unique_ptr<DirtyBits> ever;
};

class Model {
 public:
  explicit Model(std::uint64_t seed)
      : world_(3, {.seed = seed, .latency_max_ns = 200'000, .short_transfers = seed % 3 == 0}), random_(seed * 7919) {
    simulation().make_file("/", 0);
    tracked_.emplace("a", kBlock);
    tracked_.emplace("b", 4 * kBlock);
  }

  void run() { world_.run(all_sessions()); }

  std::uint64_t changes = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t crashes = 0;

 private:
  aio::Simulation& simulation() { return world_.simulation(); }
  aio::Reactor& control() { return world_.control(); }
  Task<void> pause(std::uint64_t ns_max) {
    aio::Reactor& here = co_await aio::current_reactor();
    (void)co_await here.sleep_until(here.now_ns() + random_.below(ns_max));
  }
  BitmapStore::Image image() const { return {.identity = "disk", .size_bytes = kSize, .generation = generation_}; }

  Task<void> all_sessions() {
    auto created = co_await BitmapStore::create(world_.data_reactor(0).reactor, kPath, image(), kRegion);
    if (!created) {
      ADD_FAILURE() << created.error().message();
      co_return;
    }
    store_ = std::move(*created);
    for (auto& [name, one] : tracked_) EXPECT_TRUE(co_await store_->add(name, *one.bits, true));
    for (int session = 0; session < kSessions && !testing::Test::HasFailure(); session++) {
      const End end = session % 4 == 3 ? End::kClose : random_.one_in(3) ? End::kKill : End::kPowerCut;
      co_await use_store(end);
      if (testing::Test::HasFailure()) co_return;
      co_await reopen(end);
    }
    store_.reset();
  }

  Task<void> use_store(End end) {
    is_over_ = false;
    started_ = completed_ = 0;
    changes_before_ = changes;
    for (auto& [region, when] : region_stamps_) when = 0;
    aio::Scope scope(control());
    for (std::size_t writer = 0; writer < 4; writer++) {
      scope.spawn("writer", aio::run_on(world_.data_reactor(writer % world_.size()), "writer", write_until_over()));
    }
    scope.spawn("checkpoints", checkpoint_until_over());
    scope.spawn("administrator", administrate_until_over());
    co_await pause(kPauseNsMax * 40);
    is_over_ = true;
    if (end == End::kPowerCut) simulation().power_cut();
    // No operation of a killed process happens any more.
    if (end == End::kKill) simulation().inject({.kind = {}, .error = EIO, .count = UINT64_MAX, .path = kPath});
    co_await scope.join();
    simulation().clear_faults();
    if (end == End::kClose) {
      generation_ += "+";
      const Result<> closed = co_await store_->close(generation_);
      EXPECT_TRUE(closed) << closed.error().message();
      region_stamps_.clear();
    } else {
      crashes++;
    }
    store_.reset();
  }

  // --- the image ---

  Range choose_range() {
    const std::uint64_t spot = random_.below(kSpots) * (kBlocks / kSpots);
    const std::uint64_t block = std::min(spot + random_.below(6), kBlocks - 1);
    const std::uint64_t offset = block * kBlock + random_.below(kBlock / 512) * 512;
    const std::uint64_t length = random_.between(1, 3 * kBlock / 512) * 512;
    if (offset >= kSize) return {kSize - 512, 512};
    return {offset, std::min(length, kSize - offset)};
  }

  Task<void> write_until_over() {
    while (!is_over_) {
      const Range range = choose_range();
      stamp(range);  // a crash may leave the intents of a change that was never admitted
      IoResult admitted = store_->try_before_change(range);
      if (!admitted) admitted = co_await store_->before_change(range);
      if (!admitted) {
        EXPECT_TRUE(is_over_) << "a change failed without a fault";
        co_return;
      }
      changes++;
      begin(range);
      co_await pause(kPauseNsMax / 4);
      for (auto& [name, one] : tracked_) one.bits->mark(range);
      for (auto& [name, one] : tracked_) one.note(range);
      note_end(range);
      store_->after_change(range);
      if (random_.one_in(2)) co_await pause(kPauseNsMax / 2);
    }
  }
  // From now on the bytes may have changed.
  void begin(Range range) {
    for (std::uint64_t block = range.offset / kBlock; block <= (range.end() - 1) / kBlock; block++) {
      under_way_[block]++;
      for (auto& [name, one] : tracked_) one.must[block] = true;
    }
    stamp(range);
  }
  void note_end(Range range) {
    for (std::uint64_t block = range.offset / kBlock; block <= (range.end() - 1) / kBlock; block++) {
      if (--under_way_[block] == 0) under_way_.erase(block);
    }
    stamp(range);
  }
  void stamp(Range range) {
    for (std::uint64_t region = range.offset / kRegion; region <= (range.end() - 1) / kRegion; region++) {
      region_stamps_[region] = started_;
    }
  }

  // --- commands ---

  Task<void> checkpoint_until_over() {
    while (!is_over_) {
      co_await pause(kPauseNsMax * 3);
      if (is_over_) co_return;
      const std::uint64_t number = ++started_;
      for (auto& [name, one] : tracked_) one.since_start = copy_of(*one.bits);
      const IoResult stored = co_await store_->checkpoint();
      if (!stored) continue;
      checkpoints++;
      completed_ = number;
      for (auto& [name, one] : tracked_) one.recent = copy_of(*one.since_start);
      settle_moves(number);
    }
  }
  // Blocks that had moved to another bitmap before checkpoint `number` are dirty where they are now.
  void settle_moves(std::uint64_t number) {
    std::erase_if(moved_, [&](const auto& entry) {
      const auto& [block, when] = entry;
      if (when >= number) return false;
      for (const char* name : {"a", "b"}) {
        Tracked& one = tracked_.at(name);
        if (is_dirty(*one.bits, block)) one.must[block] = true;
      }
      return true;
    });
  }

  Task<void> administrate_until_over() {
    while (!is_over_) {
      co_await pause(kPauseNsMax * 2);
      if (is_over_) co_return;
      switch (random_.below(6)) {
        case 0:
          clear(tracked_.at("a"));
          clear(tracked_.at("b"));
          std::erase_if(moved_, [&](const auto& entry) { return !under_way_.contains(entry.first); });
          break;
        case 1:
          move_bits(tracked_.at("a"), tracked_.at("b"));
          break;
        case 2:
          move_bits(tracked_.at("b"), tracked_.at("a"));
          break;
        case 3:
          if (tracked_.contains("c")) clear(tracked_.at("c"));
          break;
        case 4:
          co_await (tracked_.contains("c") ? remove_third() : add_third());
          break;
        default:
          (void)co_await store_->set_enabled("a", random_.one_in(2));
      }
    }
  }
  void clear(Tracked& one) {
    one.bits->clear();
    keep_blocks_under_way(one);
  }
  void keep_blocks_under_way(Tracked& one) {
    one.must.assign(kBlocks, false);
    for (const auto& [block, count] : under_way_) one.must[block] = true;
  }
  // As a checkpoint of backups is rotated.
  void move_bits(Tracked& from, Tracked& to) {
    for (std::uint64_t block = 0; block < kBlocks; block++) {
      if (from.must[block] || moved_.contains(block)) moved_[block] = started_;
    }
    to.bits->merge(*from.bits);
    to.note_all_bits();
    clear(from);
  }
  Task<void> add_third() {
    Tracked& third = tracked_.emplace("c", 2 * kBlock).first->second;
    keep_blocks_under_way(third);
    third_ = Third::kUnknown;
    if (co_await store_->add("c", *third.bits, true)) third_ = Third::kStored;
  }
  Task<void> remove_third() {
    third_ = Third::kUnknown;
    if (!co_await store_->remove("c")) co_return;
    third_ = Third::kAbsent;
    tracked_.erase("c");
  }

  // --- after the crash ---

  Task<void> reopen(End end) {
    auto opened = co_await BitmapStore::open(world_.data_reactor(0).reactor, kPath, image());
    if (!opened) {
      ADD_FAILURE() << opened.error().message();
      co_return;
    }
    store_ = std::move(*opened);
    EXPECT_FALSE(store_->is_inconsistent());
    if (end == End::kClose) EXPECT_FALSE(store_->recovery().was_recording);
    if (end != End::kClose && changes > changes_before_) EXPECT_TRUE(store_->recovery().was_recording);
    std::map<std::string, std::unique_ptr<DirtyBits>> loaded;
    for (const StoredBitmap& bitmap : std::vector<StoredBitmap>(store_->bitmaps())) {
      auto bits = make_bits(bitmap.granularity_bytes);
      EXPECT_TRUE(co_await store_->load(bitmap.name, *bits));
      loaded.emplace(bitmap.name, std::move(bits));
    }
    // Only a write that ends within a sector leaves it damaged, and then dirty.
    if (!simulation().options().short_transfers) EXPECT_EQ(store_->recovery().damaged_sectors, 0u);
    EXPECT_TRUE(loaded.contains("a") && loaded.contains("b"));
    if (third_ != Third::kUnknown) EXPECT_EQ(loaded.contains("c"), third_ == Third::kStored);
    third_ = loaded.contains("c") ? Third::kStored : Third::kAbsent;
    std::erase_if(tracked_, [&](const auto& entry) { return !loaded.contains(entry.first); });
    for (auto& [name, bits] : loaded) {
      auto found = tracked_.find(name);
      // A removal that was reported as failed, or never reported.
      if (found == tracked_.end()) found = tracked_.emplace(name, bits->granularity_bytes()).first;
      check(name, found->second, *bits, end);
      found->second.bits = std::move(bits);
      restart(found->second);
    }
    for (const auto& [block, when] : moved_) {
      EXPECT_TRUE(is_dirty(*tracked_.at("a").bits, block) || is_dirty(*tracked_.at("b").bits, block))
          << "block " << block << " was lost on its way to the other bitmap";
    }
    for (auto& [block, when] : moved_) when = 0;
    // Changes that were under way when the process died have ended now.
    under_way_.clear();
  }
  void check(const std::string& name, const Tracked& one, const DirtyBits& loaded, End end) {
    for (std::uint64_t block = 0; block < kBlocks; block++) {
      if (one.must[block]) ASSERT_TRUE(is_dirty(loaded, block)) << "dirty block " << block << " of " << name;
    }
    if (end == End::kClose) {
      EXPECT_EQ(words_of(loaded), words_of(*one.bits)) << name;
      return;
    }
    if (store_->recovery().damaged_sectors > 0) return;
    // A power cut may bring back older bits and intents, but none that this session has never had.
    auto may = copy_of(end == End::kKill ? *one.recent : *one.ever);
    may->merge(*one.bits);
    for (const auto& [region, when] : region_stamps_) {
      if (end == End::kPowerCut || completed_ < when + 2) may->mark({region * kRegion, kRegion});
    }
    EXPECT_TRUE(covers(*may, loaded)) << name << " has " << loaded.dirty_bytes() << " dirty bytes, which may be "
                                      << may->dirty_bytes();
    // The blocks of a damaged sector stay dirty.
    if (!simulation().options().short_transfers) EXPECT_LT(may->dirty_bytes(), kSize / 50);
  }
  static void restart(Tracked& one) {
    one.recent = copy_of(*one.bits);
    one.since_start = copy_of(*one.bits);
    one.ever = copy_of(*one.bits);
  }

  enum class Third : std::uint8_t { kAbsent, kStored, kUnknown };

  aio::testing::Interleaving world_;
  Random random_;
  std::string generation_ = "g";
  std::unique_ptr<BitmapStore> store_;
  std::map<std::string, Tracked> tracked_;
  Third third_ = Third::kAbsent;
  bool is_over_ = false;
  std::uint64_t changes_before_ = 0;              // this session
  std::map<std::uint64_t, int> under_way_;        // changes of each block
  std::map<std::uint64_t, std::uint64_t> moved_;  // blocks that are dirty in "a" or in "b", and started_ at their move
  std::uint64_t started_ = 0;                     // checkpoints of this session
  std::uint64_t completed_ = 0;                   // number of the last one that succeeded
  std::map<std::uint64_t, std::uint64_t> region_stamps_;  // started_ at the last attempt, begin or end of a change
};

TEST(BitmapStoreModelTest, NoDirtyBlockIsEverClean) {
  std::uint64_t changes = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t crashes = 0;
  for (std::uint64_t seed = 1; seed <= seeds() && !HasFailure(); seed++) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Model model(seed);
    model.run();
    changes += model.changes;
    checkpoints += model.checkpoints;
    crashes += model.crashes;
  }
  if (HasFailure()) return;
  EXPECT_GT(changes, seeds() * 500);
  EXPECT_GT(checkpoints, seeds() * 30);
  EXPECT_GE(crashes, seeds() * 4);
}

}  // namespace
}  // namespace blockexport::block
