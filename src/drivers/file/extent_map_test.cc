#include "drivers/file/extent_map.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <random>

#include "drivers/file/extent_cache.h"

namespace blockexport::drivers {
namespace {

using aio::FileRun;
using aio::FileRunKind;
using block::Extent;
using block::Extents;
using block::Range;

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

TEST(ExtentMapTest, TellsWhatItWasTold) {
  ExtentMap map;
  map.store(100, std::vector<FileRun>{{50, kData}, {30, kHole}, {20, kData}});
  EXPECT_EQ(found_in(map, {100, 100}), (Extents{data(50), hole(30), data(20)}));
  EXPECT_EQ(found_in(map, {149, 2}), (Extents{data(1), hole(1)}));
  EXPECT_EQ(found_in(map, {180, 500}), (Extents{data(20)}));
  EXPECT_TRUE(found_in(map, {99, 5}).empty());
  EXPECT_TRUE(found_in(map, {200, 5}).empty());
}

TEST(ExtentMapTest, SpaceWithoutDataIsNotKnown) {
  ExtentMap map;
  map.store(0, std::vector<FileRun>{{10, kHole}, {10, kZeros}, {10, kHole}});
  EXPECT_EQ(found_in(map, {0, 30}), (Extents{hole(10)}));
  EXPECT_TRUE(found_in(map, {10, 20}).empty());
  EXPECT_EQ(found_in(map, {20, 10}), (Extents{hole(10)}));
}

TEST(ExtentMapTest, NeighboursOfOneKindAreToldAsOne) {
  ExtentMap map;
  map.store(0, std::vector<FileRun>{{10, kHole}});
  map.store(10, std::vector<FileRun>{{10, kHole}, {10, kData}});
  EXPECT_EQ(found_in(map, {0, 30}), (Extents{hole(20), data(10)}));
}

TEST(ExtentMapTest, GivesNoMoreThanOneCallTakes) {
  std::vector<FileRun> runs;
  const std::size_t count = 3 * block::kExtentsPerCallMax;
  for (std::size_t i = 0; i < count; ++i) runs.push_back({.length = 1, .kind = i % 2 == 0 ? kData : kHole});
  ExtentMap map;
  map.store(0, runs);
  Extents extents{data(7)};
  map.find({0, count}, extents);
  EXPECT_EQ(extents.size(), 1 + block::kExtentsPerCallMax);
}

TEST(ExtentMapTest, ForgetsWhatIsFarthestWhenItIsFull) {
  ExtentMap map({.bytes_max = 2000, .leaf_runs_max = 4});
  for (std::uint64_t i = 0; i < 100; ++i) {
    map.store(i * 100, std::vector<FileRun>{{50, kData}, {50, kHole}});
    ASSERT_LE(map.bytes(), 2000u);
    ASSERT_EQ(found_in(map, {i * 100, 100}).size(), 2u) << i;
  }
  EXPECT_TRUE(found_in(map, {0, 1}).empty());
}

// What malloc() has given; sanitizers have another one, of which this tells nothing.
std::size_t memory_in_use() {
  malloc_trim(0);  // what waits to be used again counts as used
  return mallinfo2().uordblks;
}

TEST(ExtentMapTest, TakesNoMoreMemoryThanItSays) {
  constexpr std::uint64_t kRuns = 4000;
  std::vector<FileRun> scattered;
  for (std::uint64_t i = 0; i < kRuns; ++i) scattered.push_back({.length = 10, .kind = i % 2 == 0 ? kData : kZeros});
  const std::vector<FileRun> dense(kRuns, {.length = 10, .kind = kData});
  ExtentMap map;
  map.store(0, scattered);
  map.clear();
  const std::size_t before = memory_in_use() + 1024;  // small pieces that malloc() keeps for the next who asks
  // Leaves of one run, where there could be many; and one that there were many in.
  map.store(0, scattered);
  EXPECT_LE(memory_in_use(), before + map.bytes());
  map.store(0, dense);
  map.forget({10, 10 * kRuns});
  EXPECT_EQ(found_in(map, {0, 20}), (Extents{data(10)}));
  EXPECT_LE(memory_in_use(), before + map.bytes());
}

// Against one kind for each byte: 0 unknown, 1 data, 2 hole.
class Model {
 public:
  static constexpr std::uint64_t kSize = 600;

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
      if (random() % 3 == 0) {
        map.forget(range);
        model.set(range.offset, {range.length, kZeros});
      } else {
        std::vector<FileRun> runs;
        std::uint64_t at = range.offset;
        while (at < range.end()) {
          FileRun run{1 + random() % std::min<std::uint64_t>(40, range.end() - at),
                      static_cast<FileRunKind>(random() % 3)};
          runs.push_back(run);
          model.set(at, run);
          at += run.length;
        }
        map.store(range.offset, runs);
      }
      Range asked = some_range(random);
      ASSERT_EQ(found_in(map, asked), model.find(asked)) << asked.offset << "+" << asked.length;
    }
  }
}

TEST(ExtentCacheTest, KnowsOnlyTheFileThatItWasToldOf) {
  ExtentCache cache;
  EXPECT_FALSE(cache.may_know());
  aio::FileMap map{.runs = {{100, kHole}}, .info = {.allocated_bytes = 5, .changed_ns = 7}, .lasting = true};
  cache.store(0, map);
  Extents extents;
  EXPECT_TRUE(cache.find(map.info, {0, 10}, extents));
  EXPECT_EQ(extents, (Extents{hole(10)}));
  aio::FileInfo later = map.info;
  later.changed_ns = 8;
  EXPECT_EQ(cache.find(later, {0, 10}, extents), IoResult(fail(EAGAIN)));
  EXPECT_FALSE(cache.may_know());
  EXPECT_EQ(cache.find(map.info, {0, 10}, extents), IoResult(fail(EAGAIN))) << "what was forgotten stays so";
}

TEST(ExtentCacheTest, NeverMixesWhatItKnowsOfTwoFiles) {
  ExtentCache cache;
  aio::FileMap map{.runs = {{100, kHole}}, .info = {.changed_ns = 7}, .lasting = true};
  cache.store(0, map);
  map.info.changed_ns = 8;
  cache.store(100, map);
  Extents extents;
  EXPECT_EQ(cache.find(map.info, {0, 10}, extents), IoResult(fail(EAGAIN)));
  EXPECT_TRUE(cache.find(map.info, {100, 10}, extents));
}

}  // namespace
}  // namespace blockexport::drivers
