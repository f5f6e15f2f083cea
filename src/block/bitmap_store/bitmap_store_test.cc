#include "block/bitmap_store/bitmap_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"

namespace blockexport::block {
namespace {

using aio::OperationKind;
using aio::Task;

constexpr std::uint64_t kSize = 64u << 20;
constexpr std::uint64_t kRegion = 1u << 20;
constexpr std::uint32_t kGranularity = 64u << 10;
constexpr std::uint64_t kManyFaults = 1'000'000;

BitmapStore::Image image() {
  return {.identity = "disk", .size_bytes = kSize, .generation = "g1"};
}

std::unique_ptr<DirtyBits> make_bits(std::uint64_t size_bytes = kSize) {
  auto made = DirtyBits::create(size_bytes, kGranularity);
  EXPECT_TRUE(made.has_value());
  return std::move(*made);
}

template <class T>
std::string text_of(const Result<T>& result) {
  return result ? "" : result.error().message();
}

class BitmapStoreTest : public aio::testing::ForEachBackend {
 protected:
  void SetUp() override {
    ForEachBackend::SetUp();
    if (IsSkipped()) return;
    // The directory of the files, which create() syncs.
    if (simulated()) simulation().make_file("/", 0);
    path_ = make_file();
  }
  template <class Test>
  Task<void> body();

  // A store with the bitmap "a".
  Task<std::unique_ptr<BitmapStore>> with_bitmap(DirtyBits& bits) {
    auto store = co_await BitmapStore::create(reactor(), path_, image());
    EXPECT_TRUE(store) << text_of(store);
    if (!store) co_return nullptr;
    const auto added = co_await (*store)->add("a", bits, true);
    EXPECT_TRUE(added) << text_of(added);
    co_return std::move(*store);
  }
  // The store as it is in the file, with "a" loaded into `bits`.
  Task<std::unique_ptr<BitmapStore>> reopened(DirtyBits& bits) {
    auto store = co_await BitmapStore::open(reactor(), path_, image());
    EXPECT_TRUE(store) << text_of(store);
    if (!store) co_return nullptr;
    const auto loaded = co_await (*store)->load("a", bits);
    EXPECT_TRUE(loaded) << text_of(loaded);
    co_return std::move(*store);
  }
  // A change from its begin to its end.
  Task<IoResult> change(BitmapStore& store, DirtyBits& bits, Range range) {
    if (!store.try_before_change(range)) CO_TRY(co_await store.before_change(range));
    bits.mark(range);
    store.after_change(range);
    co_return IoResult();
  }
  Task<std::string> refusal(BitmapStore::Image of) {
    auto store = co_await BitmapStore::open(reactor(), path_, std::move(of));
    if (store) co_return "";
    EXPECT_NE(store.error().hint(), "");
    co_return store.error().message();
  }
  std::string refused(std::string_view reason) const {
    return fmt::format("Bitmap store '{}' cannot be used: {}", path_, reason);
  }
  // Changes the file's content.
  void edit(const std::function<void(std::string&)>& change_content) {
    std::string content = content_of(path_);
    change_content(content);
    if (simulated()) {
      simulation().write_file(path_, std::as_bytes(std::span(content)));
    } else {
      std::ofstream(path_, std::ios::binary) << content;
    }
  }

  std::string path_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(BitmapStoreTest);

TASK_TEST_P(BitmapStoreTest, BitsComeBackExactlyAfterACleanClose) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await change(*store, *bits, {5 * kRegion + kGranularity, 1}));
  EXPECT_TRUE(co_await change(*store, *bits, {kSize - 1, 1}));
  EXPECT_TRUE(co_await store->close("g1"));
  store.reset();

  const auto again = make_bits();
  store = co_await reopened(*again);
  CO_ASSERT(store != nullptr);
  EXPECT_FALSE(store->recovery().was_recording);
  EXPECT_EQ(store->recovery().dirty_regions, 0u);
  EXPECT_EQ(again->dirty_bytes(), 2u * kGranularity);
  EXPECT_EQ(again->next_dirty({0, kSize}), (Range{5 * kRegion + kGranularity, kGranularity}));
  EXPECT_EQ(again->find_dirty({6 * kRegion, kSize - 6 * kRegion}), kSize - kGranularity);
}

TASK_TEST_P(BitmapStoreTest, RegionsWithIntentsAreDirtyAfterACrash) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await change(*store, *bits, {5 * kRegion, 1}));
  // The change of this one has begun, and never ends.
  EXPECT_TRUE(co_await store->before_change({8 * kRegion, 1}));
  store.reset();

  const auto again = make_bits();
  store = co_await reopened(*again);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(store->recovery().was_recording);
  EXPECT_EQ(store->recovery().dirty_regions, 2u);
  EXPECT_EQ(again->dirty_bytes(), 2 * kRegion);
  EXPECT_EQ(again->next_dirty({0, kSize}), (Range{5 * kRegion, kRegion}));
  EXPECT_EQ(again->next_dirty({6 * kRegion, 10 * kRegion}), (Range{8 * kRegion, kRegion}));
}

TASK_TEST_P(BitmapStoreTest, OnlyTheFirstChangeOfARegionWaits) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_EQ(store->try_before_change({0, 1}).error(), Errno(EAGAIN));
  EXPECT_TRUE(co_await store->before_change({0, 1}));
  store->after_change({0, 1});
  EXPECT_TRUE(store->try_before_change({kRegion - 1, 1}));
  store->after_change({kRegion - 1, 1});
  EXPECT_EQ(store->try_before_change({kRegion - 1, 2}).error(), Errno(EAGAIN)) << "it touches another region";
  EXPECT_TRUE(store->try_before_change({}));
}

TASK_TEST_P(BitmapStoreTest, ConcurrentNewRegionsShareOneWrite) {
  if (!simulated()) CO_SKIP("only the simulation counts the changes of a file");
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await store->begin_recording());
  auto fd = co_await reactor().open(path_.c_str(), O_RDONLY);
  CO_ASSERT(fd);
  aio::FileInfo before;
  aio::FileInfo after;
  EXPECT_TRUE(co_await reactor().stat(*fd, before));
  aio::Scope scope(reactor());
  int succeeded = 0;
  const auto one = [](BitmapStore& of, Range range, int& count) -> Task<void> {
    if (co_await of.before_change(range)) ++count;
  };
  for (std::uint64_t region = 0; region < 64; region++)
    scope.spawn("change", one(*store, {region * kRegion, 1}, succeeded));
  co_await scope.join();
  EXPECT_TRUE(co_await reactor().stat(*fd, after));
  EXPECT_EQ(succeeded, 64);
  // That of the first region, and that of all others, which came meanwhile.
  EXPECT_EQ(after.modified_ns - before.modified_ns, 2);
  EXPECT_TRUE(co_await reactor().close(*fd));
}

// Both changes ask for the intent, which is written once, and not again with that of another region.
TASK_TEST_P(BitmapStoreTest, ARetiredRegionStaysRetiredWhenAnotherOneIsChanged) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  // So that the second change comes while the intent is being written.
  EXPECT_TRUE(co_await store->begin_recording());
  aio::Scope scope(reactor());
  const auto one = [](BitmapStore& of) -> Task<void> {
    EXPECT_TRUE(co_await of.before_change({0, 1}));
    of.after_change({0, 1});
  };
  for (int i = 0; i < 2; i++) scope.spawn("change", one(*store));
  co_await scope.join();
  EXPECT_TRUE(co_await store->checkpoint());
  EXPECT_TRUE(co_await store->checkpoint());
  EXPECT_TRUE(co_await change(*store, *bits, {5 * kRegion, 1}));
  store.reset();
  const auto again = make_bits();
  store = co_await reopened(*again);
  EXPECT_EQ(again->next_dirty({0, kSize}), (Range{5 * kRegion, kRegion}));
}

TASK_TEST_P(BitmapStoreTest, CheckpointsRetireIdleRegions) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await change(*store, *bits, {3 * kRegion, 1}));
  EXPECT_TRUE(co_await store->before_change({4 * kRegion, 1}));
  EXPECT_TRUE(co_await store->checkpoint());
  EXPECT_TRUE(store->try_before_change({3 * kRegion, 1})) << "one checkpoint keeps a region that was written lately";
  store->after_change({3 * kRegion, 1});
  EXPECT_TRUE(co_await store->checkpoint());
  EXPECT_TRUE(co_await store->checkpoint());
  EXPECT_EQ(store->try_before_change({3 * kRegion, 1}).error(), Errno(EAGAIN));
  EXPECT_TRUE(store->try_before_change({4 * kRegion, 1})) << "a change of it is under way";
  store.reset();

  const auto again = make_bits();
  store = co_await reopened(*again);
  CO_ASSERT(store != nullptr);
  EXPECT_EQ(again->dirty_bytes(), kGranularity + kRegion);
  EXPECT_EQ(again->next_dirty({0, kSize}), (Range{3 * kRegion, kGranularity}));
}

TASK_TEST_P(BitmapStoreTest, AClearedBitmapIsCleanAfterACheckpoint) {
  const auto bits = make_bits();
  bits->mark({0, kSize});
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  bits->clear();
  EXPECT_TRUE(co_await store->checkpoint());
  store.reset();
  const auto again = make_bits();
  store = co_await reopened(*again);
  EXPECT_EQ(again->dirty_bytes(), 0u);
}

TASK_TEST_P(BitmapStoreTest, TheListOfBitmapsIsDurable) {
  const auto a = make_bits();
  const auto b = make_bits();
  auto store = co_await with_bitmap(*a);
  CO_ASSERT(store != nullptr);
  b->mark({kRegion, 1});
  EXPECT_TRUE(co_await store->add("b", *b, true));
  EXPECT_EQ(text_of(co_await store->add("b", *b, true)),
            fmt::format("Bitmap 'b' is in bitmap store '{}' already", path_));
  EXPECT_TRUE(co_await store->set_enabled("b", false));
  EXPECT_TRUE(co_await store->remove("a"));
  EXPECT_EQ(text_of(co_await store->remove("a")), fmt::format("Bitmap 'a' is not in bitmap store '{}'", path_));
  store.reset();

  auto opened = co_await BitmapStore::open(reactor(), path_, image());
  CO_ASSERT(opened);
  CO_ASSERT((*opened)->bitmaps().size() == 1);
  EXPECT_EQ((*opened)->bitmaps()[0].name, "b");
  EXPECT_EQ((*opened)->bitmaps()[0].granularity_bytes, kGranularity);
  EXPECT_FALSE((*opened)->bitmaps()[0].is_enabled);
  const auto again = make_bits();
  EXPECT_TRUE(co_await (*opened)->load("b", *again));
  EXPECT_EQ(again->next_dirty({0, kSize}), (Range{kRegion, kGranularity}));
}

TASK_TEST_P(BitmapStoreTest, TheNumberOfBitmapsIsLimited) {
  if (!simulated()) CO_SKIP("hundreds of syncs of a real disk");
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  for (std::size_t count = 1; count < kStoredBitmapsMax; count++) {
    EXPECT_TRUE(co_await store->add(fmt::format("{:0>1023}", count), *bits, true));
  }
  EXPECT_EQ(text_of(co_await store->add("one more", *bits, true)),
            fmt::format("Bitmap store '{}' has 256 bitmaps, which is the limit", path_));
  EXPECT_TRUE(co_await store->close("g1"));
  store.reset();
  auto opened = co_await BitmapStore::open(reactor(), path_, image());
  CO_ASSERT(opened);
  EXPECT_EQ((*opened)->bitmaps().size(), kStoredBitmapsMax);
}

TASK_TEST_P(BitmapStoreTest, AResizeKeepsTheBits) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await change(*store, *bits, {kSize - 1, 1}));
  // More sectors than before.
  const std::uint64_t larger = 16 * kSectorBits * kGranularity;
  EXPECT_TRUE(bits->resize(larger));
  EXPECT_EQ((co_await store->checkpoint()).error(), Errno(ESTALE)) << "the store has the old size";
  EXPECT_TRUE(co_await store->resize(larger));
  EXPECT_TRUE(co_await change(*store, *bits, {larger - 1, 1}));
  EXPECT_TRUE(co_await store->close("g1"));
  store.reset();

  BitmapStore::Image grown = image();
  EXPECT_EQ(co_await refusal(grown), refused(fmt::format("the image has {} bytes, and had {} when its bitmaps were "
                                                         "stored",
                                                         kSize, larger)));
  grown.size_bytes = larger;
  auto opened = co_await BitmapStore::open(reactor(), path_, grown);
  CO_ASSERT(opened);
  const auto again = make_bits(larger);
  EXPECT_TRUE(co_await (*opened)->load("a", *again));
  EXPECT_EQ(again->dirty_bytes(), 2u * kGranularity);
  EXPECT_EQ(again->find_dirty({kSize, larger - kSize}), larger - kGranularity);
}

TASK_TEST_P(BitmapStoreTest, AStoreOfAnotherImageIsRefused) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await store->begin_recording());
  EXPECT_TRUE(co_await store->close("g2"));
  store.reset();
  EXPECT_EQ(co_await refusal(image()),
            refused("the image was changed without its bitmaps, which therefore miss changes"));
  BitmapStore::Image other = image();
  other.generation = "g2";
  other.size_bytes = kSize + 512;
  EXPECT_EQ(co_await refusal(other),
            refused("the image has 67109376 bytes, and had 67108864 when its bitmaps were stored"));
  other = image();
  other.identity = "other disk";
  EXPECT_EQ(co_await refusal(other), refused("it belongs to another image"));
}

TASK_TEST_P(BitmapStoreTest, GenerationsOfDifferentScopesAreNotCompared) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await store->close("boot 1\n100"));
  store.reset();
  BitmapStore::Image later = image();
  later.generation = "boot 1\n101";
  EXPECT_EQ(co_await refusal(later),
            refused("the image was changed without its bitmaps, which therefore miss changes"));
  later.generation = "boot 2\n7";
  EXPECT_EQ(co_await refusal(later), "");
  later.generation = "boot 1\n100";
  EXPECT_EQ(co_await refusal(later), "");
}

TASK_TEST_P(BitmapStoreTest, AStoreWithoutBitmapsBelongsToEveryImage) {
  EXPECT_TRUE(co_await BitmapStore::create(reactor(), path_, image()));
  const BitmapStore::Image other{.identity = "other", .size_bytes = 2 * kSize, .generation = "g7"};
  auto store = co_await BitmapStore::open(reactor(), path_, other);
  CO_ASSERT(store);
  EXPECT_EQ((*store)->image_bytes(), 2 * kSize);
  const auto bits = make_bits(2 * kSize);
  EXPECT_TRUE(co_await (*store)->add("a", *bits, true));
  EXPECT_TRUE(co_await (*store)->close("g8"));
  store->reset();
  EXPECT_EQ(co_await refusal(image()), refused("it belongs to another image"));
}

TASK_TEST_P(BitmapStoreTest, ACrashDuringAChangeOfTheSizeLeavesAStoreForEachSize) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await change(*store, *bits, {kSize - 1, 1}));
  EXPECT_TRUE(co_await store->expect_sizes(kSize, 2 * kSize));
  EXPECT_TRUE(co_await store->checkpoint()) << "the bitmaps have the old size until the image has the new one";
  store.reset();
  BitmapStore::Image resized = image();
  for (std::uint64_t size_bytes : {kSize, kSize + 512, 2 * kSize}) {
    resized.size_bytes = size_bytes;
    EXPECT_EQ(co_await refusal(resized), "");
  }
  resized.size_bytes = kSize - 512;
  EXPECT_NE(co_await refusal(resized), "");
  resized.size_bytes = 2 * kSize + 512;
  EXPECT_NE(co_await refusal(resized), "");

  resized.size_bytes = 2 * kSize;
  auto opened = co_await BitmapStore::open(reactor(), path_, resized);
  CO_ASSERT(opened);
  EXPECT_EQ((*opened)->image_bytes(), kSize);
  const auto again = make_bits();
  EXPECT_TRUE(co_await (*opened)->load("a", *again));
  EXPECT_TRUE(again->resize(2 * kSize));
  EXPECT_TRUE(co_await (*opened)->resize(2 * kSize));
  opened->reset();
  EXPECT_NE(co_await refusal(image()), "") << "the old size is not expected any more";
  EXPECT_EQ(co_await refusal(resized), "");
}

TASK_TEST_P(BitmapStoreTest, AnAbandonedStoreIsInconsistentAndNeedsNoBitsOfItsBitmaps) {
  auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  co_await store->abandon(Errno(ESTALE), bits.get());
  bits.reset();
  EXPECT_TRUE(store->is_inconsistent());
  EXPECT_EQ(store->failure(), Errno(ESTALE));
  EXPECT_FALSE(co_await store->checkpoint());
  EXPECT_TRUE(co_await store->close("g1"));
  store.reset();
  auto opened = co_await BitmapStore::open(reactor(), path_, image());
  CO_ASSERT(opened);
  EXPECT_TRUE((*opened)->is_inconsistent());
}

// Then every region that is changed keeps its intent.
TASK_TEST_P(BitmapStoreTest, AnAbandonedStoreThatCannotSaySoResetsNoIntent) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  inject({.kind = OperationKind::kWrite, .error = EIO, .count = kManyFaults, .path = path_});
  inject({.kind = OperationKind::kTruncate, .error = EIO, .count = kManyFaults, .path = path_});
  co_await store->abandon(Errno(ESTALE), bits.get());
  clear_faults();
  EXPECT_FALSE(store->is_inconsistent());
  EXPECT_TRUE(co_await change(*store, *bits, {kRegion, 1}));
  EXPECT_FALSE(co_await store->checkpoint());
  const std::string crashed = content_of(path_);
  EXPECT_TRUE(co_await store->close("g1"));
  EXPECT_TRUE(store->is_inconsistent()) << "which can be stored at the end";
  store.reset();
  edit([&](std::string& content) { content = crashed; });
  const auto again = make_bits();
  store = co_await reopened(*again);
  EXPECT_EQ(again->next_dirty({0, kSize}), (Range{kRegion, kRegion}));
}

TASK_TEST_P(BitmapStoreTest, AnUndoneBitmapIsGoneAndNoBitsAreStoredMeanwhile) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await change(*store, *bits, {0, 1}));
  EXPECT_TRUE(co_await store->checkpoint());
  EXPECT_TRUE(co_await store->checkpoint());
  bits->clear();
  const auto other = make_bits();
  EXPECT_TRUE(co_await store->add("b", *other, true));
  EXPECT_TRUE(co_await store->undo_add("b"));
  EXPECT_EQ(store->bitmaps().size(), 1u);
  store.reset();
  const auto again = make_bits();
  store = co_await reopened(*again);
  EXPECT_EQ(again->dirty_bytes(), kGranularity) << "the caller may restore the bit";
}

TASK_TEST_P(BitmapStoreTest, AMissingStoreIsMadeOnRequestAndAnEmptyOneIsRefused) {
  EXPECT_EQ(text_of(co_await BitmapStore::open_or_create(reactor(), path_, image())), refused("it is empty"));
  if (!simulated()) {
    std::filesystem::remove(path_);
    EXPECT_TRUE(co_await BitmapStore::open_or_create(reactor(), path_, image()));
    EXPECT_TRUE(co_await BitmapStore::open_or_create(reactor(), path_, image()));
  }
  edit([&](std::string& content) { content.assign(100'000, '\0'); });
  EXPECT_TRUE(co_await BitmapStore::open_or_create(reactor(), path_, image())) << "its creation was interrupted";
  edit([&](std::string& content) { content.assign(100'000, 'x'); });
  EXPECT_EQ(text_of(co_await BitmapStore::open_or_create(reactor(), path_, image())), refused("it is no bitmap store"));
}

TASK_TEST_P(BitmapStoreTest, RegularCheckpointsPause) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await change(*store, *bits, {0, 1}));
  EXPECT_TRUE(co_await store->checkpoint());
  aio::Scope scope(reactor());
  {
    const auto pause = co_await store->pause_checkpoints();
    EXPECT_TRUE(pause);
    scope.spawn("checkpoints", store->checkpoint_regularly(1'000'000));
    EXPECT_TRUE(co_await reactor().sleep_until(reactor().now_ns() + 30'000'000));
    EXPECT_TRUE(store->try_before_change({0, 1})) << "no checkpoint has retired the region";
    store->after_change({0, 1});
  }
  scope.cancel();
  co_await scope.join();
}

TASK_TEST_P(BitmapStoreTest, AFileThatIsNoIntactStoreIsRefused) {
  EXPECT_EQ(co_await refusal(image()), refused("it is empty"));
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  store.reset();
  const std::string intact = content_of(path_);
  edit([](std::string& content) { content.resize(5000); });
  EXPECT_EQ(co_await refusal(image()), refused("it is truncated"));
  edit([&](std::string& content) { content = intact.substr(0, kStoreHeadBytes + 100); });
  EXPECT_EQ(co_await refusal(image()), refused("it is truncated"));
  edit([&](std::string& content) {
    content = intact;
    content[10] = content[kStorePageBytes + 10] = 'x';
  });
  EXPECT_EQ(co_await refusal(image()), refused("its superblocks are damaged"));
  edit([&](std::string& content) { content.assign(100'000, 'x'); });
  EXPECT_EQ(co_await refusal(image()), refused("it is no bitmap store"));
  edit([&](std::string& content) { content.assign(100'000, '\0'); });
  EXPECT_EQ(co_await refusal(image()), refused("its creation was interrupted"));
  // Which another creation repairs.
  EXPECT_TRUE(co_await BitmapStore::create(reactor(), path_, image()));
}

TASK_TEST_P(BitmapStoreTest, AStoreOfALaterVersionIsRefused) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  store.reset();
  edit([](std::string& content) {
    StoreSuperblock later{.version = 3, .sequence = 100};
    const StoreSector sector = encode(later);
    std::ranges::copy(sector, reinterpret_cast<std::byte*>(content.data()));
  });
  EXPECT_EQ(co_await refusal(image()), refused("its version is 3, and this program supports version 1"));
}

TASK_TEST_P(BitmapStoreTest, OneUserAtATimeHasTheStore) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  auto second = co_await BitmapStore::open(reactor(), path_, image());
  CO_ASSERT(!second);
  EXPECT_EQ(second.error().message(), fmt::format("Could not lock bitmap store '{}': another process uses it", path_));
  EXPECT_TRUE(second.error().is_busy());
  store.reset();
  EXPECT_TRUE(co_await BitmapStore::open(reactor(), path_, image()));
}

TASK_TEST_P(BitmapStoreTest, CreationNeverReplacesAStore) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  store.reset();
  EXPECT_EQ(text_of(co_await BitmapStore::create(reactor(), path_, image())),
            fmt::format("Could not create bitmap store '{}': the file exists", path_));
  EXPECT_TRUE(co_await BitmapStore::open(reactor(), path_, image()));
}

TASK_TEST_P(BitmapStoreTest, ADamagedSectorIsDirty) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  const std::uint64_t offset = store->bitmaps()[0].area.offset;
  EXPECT_TRUE(co_await store->close("g1"));
  store.reset();
  edit([&](std::string& content) { content[offset + 77] ^= 1; });
  const auto again = make_bits();
  store = co_await reopened(*again);
  CO_ASSERT(store != nullptr);
  EXPECT_EQ(store->recovery().damaged_sectors, 1u);
  EXPECT_EQ(again->dirty_bytes(), kSize);
}

// The regions of a damaged sector of intents are dirty, and no others.
TASK_TEST_P(BitmapStoreTest, ADamagedSectorOfIntentsMakesItsRegionsDirty) {
  BitmapStore::Image large = image();
  large.size_bytes = 3 * kSectorBits * kRegion;
  auto created = co_await BitmapStore::create(reactor(), path_, large);
  CO_ASSERT(created);
  const auto bits = make_bits(large.size_bytes);
  EXPECT_TRUE(co_await (*created)->add("a", *bits, true));
  created->reset();
  edit([](std::string& content) { content[kStoreHeadBytes + kStoreSectorBytes + 9] ^= 1; });
  auto opened = co_await BitmapStore::open(reactor(), path_, large);
  CO_ASSERT(opened);
  EXPECT_EQ((*opened)->recovery().dirty_regions, kSectorBits);
  const auto again = make_bits(large.size_bytes);
  EXPECT_TRUE(co_await (*opened)->load("a", *again));
  EXPECT_EQ(again->next_dirty({0, large.size_bytes}), (Range{kSectorBits * kRegion, kSectorBits * kRegion}));
}

TASK_TEST_P(BitmapStoreTest, AFullDiskMakesTheStoreInconsistentAndFailsNoChange) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await store->begin_recording());
  inject({.kind = OperationKind::kWrite, .error = ENOSPC, .count = 1, .path = path_});
  EXPECT_TRUE(co_await change(*store, *bits, {0, 1}));
  EXPECT_TRUE(store->is_inconsistent());
  EXPECT_EQ(store->failure(), Errno(ENOSPC));
  EXPECT_TRUE(store->try_before_change({kRegion, 1})) << "no later change waits";
  store->after_change({kRegion, 1});
  EXPECT_EQ((co_await store->checkpoint()).error(), Errno(ENOSPC));
  EXPECT_TRUE(co_await store->close("g1"));
  store.reset();

  BitmapStore::Image resized = image();
  resized.size_bytes = 2 * kSize;
  EXPECT_EQ(co_await refusal(resized), "") << "its bitmaps can be removed, whatever their size";
  auto opened = co_await BitmapStore::open(reactor(), path_, image());
  CO_ASSERT(opened);
  EXPECT_TRUE((*opened)->is_inconsistent());
  const auto again = make_bits();
  EXPECT_EQ(text_of(co_await (*opened)->load("a", *again)),
            refused("changes could not be recorded: No space left on device"));
  // Without the bitmaps nothing is left that could be wrong.
  EXPECT_TRUE(co_await (*opened)->remove("a"));
  EXPECT_TRUE(co_await (*opened)->add("b", *again, true));
  EXPECT_TRUE(co_await change(**opened, *again, {kRegion, 1}));
  opened->reset();
  const auto loaded = make_bits();
  opened = co_await BitmapStore::open(reactor(), path_, image());
  CO_ASSERT(opened);
  EXPECT_TRUE(co_await (*opened)->load("b", *loaded));
  EXPECT_EQ(loaded->next_dirty({0, kSize}), (Range{kRegion, kRegion}));
}

TASK_TEST_P(BitmapStoreTest, ADiskThatTakesNoWriteAtAllEmptiesTheStore) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  inject({.kind = OperationKind::kWrite, .error = ENOSPC, .count = kManyFaults, .path = path_});
  EXPECT_TRUE(co_await change(*store, *bits, {0, 1}));
  EXPECT_TRUE(store->is_inconsistent());
  clear_faults();
  store.reset();
  EXPECT_EQ(co_await refusal(image()), refused("it is empty"));
}

// The only case in which a change fails: otherwise a crash could leave a store that calls its block clean.
TASK_TEST_P(BitmapStoreTest, AChangeFailsOnlyWhileTheStoreCannotBeMadeInconsistentEither) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await change(*store, *bits, {0, 1}));
  inject({.kind = OperationKind::kWrite, .error = EIO, .count = kManyFaults, .path = path_});
  inject({.kind = OperationKind::kTruncate, .error = EIO, .count = kManyFaults, .path = path_});
  EXPECT_EQ((co_await change(*store, *bits, {kRegion, 1})).error(), Errno(EIO));
  EXPECT_TRUE(co_await change(*store, *bits, {0, 1})) << "its region has an intent";
  EXPECT_FALSE(store->is_inconsistent());
  clear_faults();
  EXPECT_TRUE(co_await change(*store, *bits, {kRegion, 1})) << "each change tries again";
  EXPECT_TRUE(co_await store->close("g1"));
  store.reset();
  const auto again = make_bits();
  store = co_await reopened(*again);
  EXPECT_EQ(again->dirty_bytes(), 2u * kGranularity);
}

TASK_TEST_P(BitmapStoreTest, ACheckpointThatFailedIsMadeAgain) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await change(*store, *bits, {0, 1}));
  for (OperationKind kind : {OperationKind::kWrite, OperationKind::kSync}) {
    inject({.kind = kind, .error = ENOSPC, .count = 1, .path = path_});
    EXPECT_FALSE(co_await store->checkpoint());
    EXPECT_FALSE(store->is_inconsistent());
  }
  EXPECT_TRUE(co_await store->close("g1"));
  store.reset();
  const auto again = make_bits();
  store = co_await reopened(*again);
  EXPECT_EQ(again->dirty_bytes(), kGranularity);
}

TASK_TEST_P(BitmapStoreTest, NoChangeIsRecordedBeforeAllBitmapsAreLoaded) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await store->close("g1"));
  store.reset();
  auto opened = co_await BitmapStore::open(reactor(), path_, image());
  CO_ASSERT(opened);
  EXPECT_EQ((co_await (*opened)->begin_recording()).error(), Errno(EBUSY));
  EXPECT_EQ((co_await (*opened)->before_change({0, 1})).error(), Errno(EBUSY));
  EXPECT_TRUE(co_await (*opened)->close("g2"));
  opened->reset();
  EXPECT_EQ(co_await refusal(image()), "") << "nothing has changed, so the generation is the old one";
}

TASK_TEST_P(BitmapStoreTest, RegularCheckpointsStoreBitsAndEndWhenCancelled) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await change(*store, *bits, {0, 1}));
  aio::Scope scope(reactor());
  scope.spawn("checkpoints", store->checkpoint_regularly(1'000'000));
  while (store->try_before_change({0, 1})) {
    store->after_change({0, 1});
    // The second checkpoint after the last change retires the region.
    EXPECT_TRUE(co_await reactor().sleep_until(reactor().now_ns() + 20'000'000));
  }
  scope.cancel();
  co_await scope.join();
  EXPECT_FALSE(store->checkpoint_error());
  store.reset();
  const auto again = make_bits();
  store = co_await reopened(*again);
  EXPECT_EQ(again->dirty_bytes(), kGranularity);
}

TASK_TEST_P(BitmapStoreTest, AStoreWhoseFileLostWritesIsInconsistent) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  store.reset();
  inject({.kind = OperationKind::kSync, .error = EIO, .count = 1, .path = path_});
  EXPECT_EQ(text_of(co_await BitmapStore::open(reactor(), path_, image())),
            fmt::format("Could not sync bitmap store '{}': Input/output error", path_));
  auto opened = co_await BitmapStore::open(reactor(), path_, image());
  CO_ASSERT(opened);
  EXPECT_TRUE((*opened)->is_inconsistent());
}

TASK_TEST_P(BitmapStoreTest, ADestroyedStoreIsGone) {
  const auto bits = make_bits();
  auto store = co_await with_bitmap(*bits);
  CO_ASSERT(store != nullptr);
  EXPECT_TRUE(co_await store->destroy());
  store.reset();
  EXPECT_EQ(content_of(path_), "");
  if (!simulated()) EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_FALSE(co_await BitmapStore::open(reactor(), path_, image()));
  EXPECT_TRUE(co_await BitmapStore::create(reactor(), path_, image()));
}

// A killed user leaves an intent in the page cache only, the next user relies on it, and then the power fails.
Task<void> kill_and_lose_power(aio::Simulation& simulation, aio::Reactor& home) {
  simulation.make_file("/", 0);
  const auto bits = make_bits();
  auto store = co_await BitmapStore::create(home, "/store", image());
  CO_ASSERT(store);
  EXPECT_TRUE(co_await (*store)->add("a", *bits, true));
  EXPECT_TRUE(co_await (*store)->begin_recording());
  aio::Scope scope(home);
  const auto begin = [](BitmapStore& of) -> Task<void> { EXPECT_FALSE(co_await of.before_change({0, 1})); };
  scope.spawn("change", begin(**store));
  simulation.inject({.kind = {}, .error = EIO, .count = kManyFaults, .path = "/store"});
  co_await scope.join();
  store->reset();
  simulation.clear_faults();

  store = co_await BitmapStore::open(home, "/store", image());
  CO_ASSERT(store);
  EXPECT_EQ((*store)->recovery().dirty_regions, 1u) << "the write was under way";
  EXPECT_TRUE(co_await (*store)->load("a", *bits));
  EXPECT_TRUE(co_await (*store)->before_change({0, 1}));
  simulation.power_cut();
  store->reset();

  store = co_await BitmapStore::open(home, "/store", image());
  CO_ASSERT(store);
  const auto again = make_bits();
  EXPECT_TRUE(co_await (*store)->load("a", *again));
  EXPECT_EQ(again->next_dirty({0, kSize}), (Range{0, kRegion}));
}

TEST(BitmapStorePowerTest, IntentsOfAKilledUserAreDurableForTheNextOne) {
  for (std::uint64_t seed = 1; seed <= 20; seed++) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    aio::Simulation simulation(seed);
    const auto reactor = simulation.make_reactor();
    aio::testing::run(*reactor, kill_and_lose_power(simulation, *reactor));
  }
}

}  // namespace
}  // namespace blockexport::block
