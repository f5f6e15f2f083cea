#include "drivers/qcow2/tables/l2_cache.h"

#include <gtest/gtest.h>

#include <thread>

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kSliceBytes = 512;

// A slice all of whose entries are `value`, as it stands in an image.
std::vector<std::byte> slice_of(std::uint64_t value, std::uint64_t slice_bytes = kSliceBytes) {
  std::vector<std::byte> bytes(slice_bytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(value >> (56 - 8 * (i % 8)));
  return bytes;
}

TEST(L2CacheTest, FindsTheEntriesOfASliceInTheByteOrderOfTheHost) {
  L2Cache cache({}, kSliceBytes, 1 << 16);
  EXPECT_FALSE(cache.find(64));
  ASSERT_TRUE(cache.insert(1, slice_of(0x0102030405060708)));
  EXPECT_EQ(cache.find(64), (L2Entry{0x0102030405060708}));
  EXPECT_EQ(cache.find(127), (L2Entry{0x0102030405060708}));
  EXPECT_FALSE(cache.find(63));
  EXPECT_FALSE(cache.find(128));
}

TEST(L2CacheTest, KnowsWhereASliceStandsInItsTable) {
  const L2Cache cache({}, kSliceBytes, 1 << 16);
  EXPECT_EQ(cache.slices_per_table(), 128u);
  EXPECT_EQ(cache.slice_of(8191), 127u);
  EXPECT_EQ(cache.offset_in_table(127), 127 * kSliceBytes);
  EXPECT_EQ(cache.offset_in_table(128), 0u);
}

TEST(L2CacheTest, ReadsAndChangesBothWordsOfAnExtendedEntry) {
  L2Cache cache({.extended_l2 = true}, kSliceBytes, 1 << 16);
  std::vector<std::byte> bytes(kSliceBytes);
  bytes[23] = std::byte{5};
  bytes[31] = std::byte{7};
  ASSERT_TRUE(cache.insert(0, bytes));
  EXPECT_EQ(cache.find(1), (L2Entry{5, 7}));
  cache.set(1, {0x50000, 9});
  EXPECT_EQ(cache.find(1), (L2Entry{0x50000, 9}));
  std::vector<std::byte> encoded(kSliceBytes);
  cache.encode(0, encoded);
  EXPECT_EQ(encoded[21], std::byte{5});
  EXPECT_EQ(encoded[31], std::byte{9});
}

TEST(L2CacheTest, HoldsAsManySlicesAsItsSizeAndEvictsTheOthers) {
  L2Cache cache({}, kSliceBytes, kSliceBytes * L2Cache::kWays * 4);
  for (std::uint64_t slice = 0; slice < 32; ++slice) ASSERT_TRUE(cache.insert(slice, slice_of(slice)));
  for (std::uint64_t slice = 0; slice < 32; ++slice) EXPECT_EQ(cache.find(slice * 64), (L2Entry{slice}));
  for (std::uint64_t slice = 32; slice < 64; ++slice) ASSERT_TRUE(cache.insert(slice, slice_of(slice)));
  std::size_t present = 0;
  for (std::uint64_t slice = 0; slice < 64; ++slice) {
    if (!cache.holds(slice)) continue;
    ++present;
    EXPECT_EQ(cache.find(slice * 64), (L2Entry{slice}));
  }
  EXPECT_EQ(present, 32u);
}

TEST(L2CacheTest, EvictsASliceThatWasNotUsedBeforeOneThatWas) {
  L2Cache cache({}, kSliceBytes, kSliceBytes * L2Cache::kWays);
  for (std::uint64_t slice = 0; slice < 8; ++slice) ASSERT_TRUE(cache.insert(slice, slice_of(slice)));
  ASSERT_TRUE(cache.insert(8, slice_of(8)));  // all were new, so that any of them may go
  for (std::uint64_t slice = 0; slice < 8; ++slice) {
    if (slice != 5) (void)cache.find(slice * 64);
  }
  ASSERT_TRUE(cache.insert(9, slice_of(9)));
  EXPECT_FALSE(cache.holds(5));
}

TEST(L2CacheTest, KeepsDirtySlicesAndAlwaysHasCleanPlaces) {
  L2Cache cache({}, kSliceBytes, kSliceBytes * L2Cache::kWays);
  for (std::uint64_t slice = 0; slice < 8; ++slice) ASSERT_TRUE(cache.insert(slice, slice_of(slice)));
  for (std::uint64_t slice = 0; slice < L2Cache::kDirtyWaysMax; ++slice) {
    ASSERT_TRUE(cache.may_change(slice));
    cache.set(slice * 64, {100 + slice});
  }
  EXPECT_TRUE(cache.may_change(0));
  EXPECT_FALSE(cache.may_change(L2Cache::kDirtyWaysMax));
  for (std::uint64_t slice = 8; slice < 100; ++slice) ASSERT_TRUE(cache.insert(slice, slice_of(slice)));
  for (std::uint64_t slice = 0; slice < L2Cache::kDirtyWaysMax; ++slice) {
    EXPECT_EQ(cache.find(slice * 64), (L2Entry{100 + slice}));
  }
  EXPECT_FALSE(cache.may_change(50)) << "it may not be in memory";
}

TEST(L2CacheTest, ASliceThatChangesWhileItIsWrittenStaysDirty) {
  L2Cache cache({}, kSliceBytes, 1 << 16);
  for (std::uint64_t slice = 0; slice < 3; ++slice) ASSERT_TRUE(cache.insert(slice, slice_of(slice)));
  cache.set(2 * 64, {7});
  cache.set(0, {8});
  EXPECT_EQ(cache.begin_write(), (std::vector<std::uint64_t>{0, 2}));
  cache.set(0, {9});
  cache.set(64, {10});
  cache.end_write();
  EXPECT_EQ(cache.begin_write(), (std::vector<std::uint64_t>{0, 1}));
  cache.end_write();
  EXPECT_EQ(cache.dirty_count(), 0u);
}

TEST(L2CacheTest, DropsCleanSlicesThatNobodyUsed) {
  L2Cache cache({}, 4096, 4096 * L2Cache::kWays);
  for (std::uint64_t slice = 0; slice < 4; ++slice) ASSERT_TRUE(cache.insert(slice, slice_of(slice, 4096)));
  cache.set(3 * 512, {77});
  cache.drop_unused(0, cache.set_count());
  EXPECT_TRUE(cache.holds(0));  // it was used when it came in
  EXPECT_EQ(cache.find(512), (L2Entry{1}));
  cache.drop_unused(1, 1);  // a set that does not exist
  cache.drop_unused(0, cache.set_count());
  EXPECT_FALSE(cache.holds(0));
  EXPECT_FALSE(cache.holds(2));
  EXPECT_EQ(cache.find(512), (L2Entry{1}));
  EXPECT_EQ(cache.find(3 * 512), (L2Entry{77}));
  ASSERT_TRUE(cache.insert(2, slice_of(2, 4096)));
  EXPECT_EQ(cache.find(2 * 512 + 511), (L2Entry{2}));
}

// A lookup sees the slice that it asks for, or nothing, while another thread replaces and drops slices in the same
// place.
TEST(L2CacheTest, ALookupNeverSeesAnotherSlice) {
  constexpr std::uint64_t kBytes = 4096;  // so that dropped slices give their memory back
  constexpr std::uint64_t kEntries = kBytes / 16;
  L2Cache cache({.extended_l2 = true}, kBytes, kBytes * L2Cache::kWays);
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> found = 0;
  std::thread reader([&] {
    for (std::uint64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
      const std::uint64_t slice = i % 16;
      const std::optional<L2Entry> entry = cache.find(slice * kEntries + i % kEntries);
      if (!entry) continue;
      EXPECT_EQ(entry->descriptor % 16, slice);
      EXPECT_EQ(entry->descriptor, entry->subclusters);
      found.fetch_add(1, std::memory_order_relaxed);
    }
  });
  for (std::uint64_t i = 0; i < 20'000 || found.load(std::memory_order_relaxed) < 1000; ++i) {
    const std::uint64_t slice = i * 7 % 16;
    ASSERT_TRUE(cache.insert(slice, slice_of(slice, kBytes)));
    if (cache.may_change(slice)) cache.set(slice * kEntries + i % kEntries, {slice + 16 * i, slice + 16 * i});
    if (i % 3 == 0) cache.drop_unused(0, 1);
    if (i % 5 == 0) {
      (void)cache.begin_write();
      cache.end_write();
    }
  }
  stop = true;
  reader.join();
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
