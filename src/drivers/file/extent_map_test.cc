#include "drivers/file/extent_map.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <random>

namespace blockexport::drivers {
namespace {

using aio::FileRun;
using aio::FileRunKind;
using block::Extent;
using block::Extents;
using block::Range;

using Holes = ExtentMap::Holes;

constexpr FileRunKind kData = FileRunKind::kData;
constexpr FileRunKind kHole = FileRunKind::kHole;
constexpr FileRunKind kZeros = FileRunKind::kZeros;

Extents found_in(const ExtentMap& map, Range range) {
  Extents extents;
  map.find(range, extents);
  return extents;
}

Extent data(std::uint64_t length) {
  return {.length = length, .data = true};
}
Extent hole(std::uint64_t length) {
  return {.length = length, .zero = true};
}

TEST(ExtentMapTest, FindsStoredRuns) {
  ExtentMap map;
  map.store(100, std::vector<FileRun>{{50, kData}, {30, kHole}, {20, kData}}, Holes::kProven);
  EXPECT_EQ(found_in(map, {100, 100}), (Extents{data(50), hole(30), data(20)}));
  EXPECT_EQ(found_in(map, {149, 2}), (Extents{data(1), hole(1)}));
  EXPECT_EQ(found_in(map, {180, 500}), (Extents{data(20)}));
  EXPECT_TRUE(found_in(map, {99, 5}).empty());
  EXPECT_TRUE(found_in(map, {200, 5}).empty());
}

TEST(ExtentMapTest, SpaceWithoutDataIsUnknown) {
  ExtentMap map;
  map.store(0, std::vector<FileRun>{{10, kHole}, {10, kZeros}, {10, kHole}}, Holes::kProven);
  EXPECT_EQ(found_in(map, {0, 30}), (Extents{hole(10)}));
  EXPECT_TRUE(found_in(map, {10, 20}).empty());
  EXPECT_EQ(found_in(map, {20, 10}), (Extents{hole(10)}));
}

TEST(ExtentMapTest, JoinsNeighboursOfOneKind) {
  ExtentMap map;
  map.store(0, std::vector<FileRun>{{10, kHole}}, Holes::kProven);
  map.store(10, std::vector<FileRun>{{10, kHole}, {10, kData}}, Holes::kProven);
  EXPECT_EQ(found_in(map, {0, 30}), (Extents{hole(20), data(10)}));
}

TEST(ExtentMapTest, FindsAtMostTheExtentsOfOneCall) {
  std::vector<FileRun> runs;
  const std::size_t count = 3 * block::kExtentsPerCallMax;
  for (std::size_t i = 0; i < count; ++i) runs.push_back({.length = 1, .kind = i % 2 == 0 ? kData : kHole});
  ExtentMap map;
  map.store(0, runs, Holes::kProven);
  Extents extents{data(7)};
  map.find({0, count}, extents);
  EXPECT_EQ(extents.size(), 1 + block::kExtentsPerCallMax);
}

TEST(ExtentMapTest, ForgetHolesKeepsData) {
  ExtentMap map;
  map.store(0, std::vector<FileRun>{{10, kData}, {10, kHole}, {10, kData}, {10, kHole}}, Holes::kProven);
  const std::size_t bytes = map.bytes();
  map.forget_holes();
  EXPECT_EQ(map.bytes(), bytes);
  EXPECT_EQ(found_in(map, {0, 40}), (Extents{data(10)}));
  EXPECT_TRUE(found_in(map, {15, 25}).empty());
  EXPECT_EQ(found_in(map, {20, 20}), (Extents{data(10)}));
  // Runs that are stored from now on are known; the others stay unknown.
  map.store(10, std::vector<FileRun>{{10, kHole}}, Holes::kProven);
  EXPECT_EQ(found_in(map, {0, 40}), (Extents{data(10), hole(10), data(10)}));
}

TEST(ExtentMapTest, ThePartsOfACutLeafKeepItsGeneration) {
  ExtentMap map;
  map.store(0, std::vector<FileRun>{{10, kHole}, {10, kData}, {10, kHole}}, Holes::kProven);
  map.forget_holes();
  map.forget({12, 4});
  EXPECT_TRUE(found_in(map, {0, 5}).empty());
  EXPECT_EQ(found_in(map, {10, 20}), (Extents{data(2)}));
  EXPECT_EQ(found_in(map, {16, 14}), (Extents{data(4)}));
  EXPECT_TRUE(found_in(map, {20, 10}).empty());
}

TEST(ExtentMapTest, DoubtedHolesAreUnknown) {
  ExtentMap map;
  map.store(0, std::vector<FileRun>{{10, kHole}, {10, kData}, {10, kHole}, {10, kData}}, Holes::kDoubted);
  EXPECT_TRUE(found_in(map, {0, 40}).empty());
  EXPECT_EQ(found_in(map, {10, 30}), (Extents{data(10)}));
  EXPECT_TRUE(found_in(map, {20, 20}).empty());
  EXPECT_EQ(found_in(map, {30, 10}), (Extents{data(10)}));
  map.store(0, std::vector<FileRun>{{40, kHole}}, Holes::kDoubted);
  EXPECT_TRUE(map.empty()) << "a doubted hole removes the data that it replaces";
}

TEST(ExtentMapTest, ReturnsTheNumberOfNewlyKnownBytes) {
  ExtentMap map;
  EXPECT_EQ(map.store(0, std::vector<FileRun>{{10, kData}, {10, kHole}, {10, kZeros}}, Holes::kProven), 20u);
  EXPECT_EQ(map.known_bytes({5, 10}), 10u);
  EXPECT_EQ(map.known_bytes({0, 100}), 20u);
  EXPECT_EQ(map.store(5, std::vector<FileRun>{{35, kData}}, Holes::kDoubted), 20u);
  EXPECT_EQ(map.store(5, std::vector<FileRun>{{35, kData}}, Holes::kDoubted), 0u);
  EXPECT_EQ(map.store(5, std::vector<FileRun>{{35, kHole}}, Holes::kDoubted), 0u);
  EXPECT_EQ(map.store(0, std::vector<FileRun>{{40, kHole}}, Holes::kProven), 35u);
  map.forget_holes();
  EXPECT_EQ(map.known_bytes({0, 100}), 0u);
}

TEST(ExtentMapTest, EvictsTheFarthestRunsWhenItIsFull) {
  ExtentMap map({.bytes_max = 2000, .leaf_runs_max = 4});
  for (std::uint64_t i = 0; i < 100; ++i) {
    map.store(i * 100, std::vector<FileRun>{{50, kData}, {50, kHole}}, Holes::kProven);
    ASSERT_LE(map.bytes(), 2000u);
    ASSERT_EQ(found_in(map, {i * 100, 100}).size(), 2u) << i;
  }
  EXPECT_TRUE(found_in(map, {0, 1}).empty());
}

// Holes that are dropped and stored again leave no memory behind that bytes() does not count.
TEST(ExtentMapTest, StaysWithinItsMemoryOverGenerations) {
  constexpr std::size_t kBytesMax = 4000;
  ExtentMap map({.bytes_max = kBytesMax, .leaf_runs_max = 4});
  std::mt19937_64 random(1);
  std::size_t most = 0;
  for (int i = 0; i < 5000; ++i) {
    std::uint64_t at = random() % 10'000;
    const Holes holes = random() % 2 == 0 ? Holes::kProven : Holes::kDoubted;
    map.store(at, std::vector<FileRun>{{7, kData}, {5, kHole}, {9, kData}, {30, kHole}}, holes);
    most = std::max(most, map.bytes());
    ASSERT_LE(map.bytes(), kBytesMax);
    ASSERT_EQ(found_in(map, {at, 7}), (Extents{data(7)}));
    if (random() % 4 == 0) map.forget_holes();
    if (random() % 4 == 0) map.forget({random() % 10'000, random() % 500});
  }
  EXPECT_GT(most, kBytesMax / 2);
  map.forget({0, 20'000});
  EXPECT_EQ(map.bytes(), 0u);
}

// Memory that malloc() has handed out. Sanitizers replace malloc(), so this says nothing about them.
std::size_t memory_in_use() {
  malloc_trim(0);  // memory that waits for reuse counts as used
  return mallinfo2().uordblks;
}

TEST(ExtentMapTest, TakesNoMoreMemoryThanItSays) {
  constexpr std::uint64_t kRuns = 4000;
  std::vector<FileRun> scattered;
  for (std::uint64_t i = 0; i < kRuns; ++i) scattered.push_back({.length = 10, .kind = i % 2 == 0 ? kData : kZeros});
  const std::vector<FileRun> dense(kRuns, {.length = 10, .kind = kData});
  ExtentMap map;
  map.store(0, scattered, Holes::kProven);
  map.clear();
  const std::size_t before = memory_in_use() + 1024;  // slack for small pieces that malloc() keeps for later
  // Leaves of one run, although they could hold many; and one leaf that did hold many.
  map.store(0, scattered, Holes::kProven);
  EXPECT_LE(memory_in_use(), before + map.bytes());
  map.store(0, dense, Holes::kProven);
  map.forget({10, 10 * kRuns});
  EXPECT_EQ(found_in(map, {0, 20}), (Extents{data(10)}));
  EXPECT_LE(memory_in_use(), before + map.bytes());
}

// Compares with a model that has one kind for each byte: 0 unknown, 1 data, 2 hole.
class Model {
 public:
  static constexpr std::uint64_t kSize = 600;

  void forget_holes() { std::ranges::replace(kinds_, 2, 0); }
  std::uint64_t known_bytes(Range range) const {
    auto begin = kinds_ + range.offset;
    return static_cast<std::uint64_t>(std::count_if(begin, begin + range.length, [](int kind) { return kind != 0; }));
  }
  void set(std::uint64_t at, FileRun run) {
    int kind = run.kind == kZeros ? 0 : run.kind == kData ? 1 : 2;
    for (std::uint64_t i = 0; i < run.length; ++i) kinds_[at + i] = kind;
  }
  Extents find(Range range) const {
    Extents extents;
    for (std::uint64_t at = range.offset; at < range.end() && kinds_[at] != 0; ++at) {
      bool is_data = kinds_[at] == 1;
      if (!extents.empty() && extents.back().data == is_data) {
        ++extents.back().length;
      } else {
        extents.push_back(is_data ? data(1) : hole(1));
      }
    }
    return extents;
  }

 private:
  int kinds_[kSize] = {};
};

Range some_range(std::mt19937_64& random) {
  std::uint64_t offset = random() % Model::kSize;
  return {offset, 1 + random() % (Model::kSize - offset)};
}

TEST(ExtentMapTest, AgreesWithAModel) {
  for (std::uint64_t seed = 1; seed <= 200 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    ExtentMap map({.leaf_runs_max = 1 + seed % 5});
    Model model;
    for (int step = 0; step < 60; ++step) {
      Range range = some_range(random);
      if (random() % 5 == 0) {
        map.forget_holes();
        model.forget_holes();
      }
      if (random() % 3 == 0) {
        map.forget(range);
        model.set(range.offset, {range.length, kZeros});
      } else {
        const Holes holes = random() % 3 == 0 ? Holes::kDoubted : Holes::kProven;
        const std::uint64_t known_before = model.known_bytes(range);
        std::vector<FileRun> runs;
        std::uint64_t at = range.offset;
        while (at < range.end()) {
          FileRun run{1 + random() % std::min<std::uint64_t>(40, range.end() - at),
                      static_cast<FileRunKind>(random() % 3)};
          runs.push_back(run);
          if (run.kind == kHole && holes == Holes::kDoubted) run.kind = kZeros;
          model.set(at, run);
          at += run.length;
        }
        const std::uint64_t known = model.known_bytes(range);
        ASSERT_EQ(map.store(range.offset, runs, holes), known - std::min(known, known_before));
      }
      Range asked = some_range(random);
      ASSERT_EQ(map.known_bytes(asked), model.known_bytes(asked)) << asked.offset << "+" << asked.length;
      ASSERT_EQ(found_in(map, asked), model.find(asked)) << asked.offset << "+" << asked.length;
    }
  }
}

}  // namespace
}  // namespace blockexport::drivers
