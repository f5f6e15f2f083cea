#include "block/bitmap_store/region_intents.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace blockexport::block {
namespace {

using Retire = RegionIntents::Retire;

constexpr std::uint64_t kRegion = 1u << 20;

RegionIntents make() {
  auto made = RegionIntents::create(kRegion);
  EXPECT_TRUE(made.has_value());
  return std::move(*made);
}

TEST(RegionIntentsTest, AChangeEntersOnlyDurableRegions) {
  RegionIntents intents = make();
  const auto both = intents.regions_of({kRegion - 1, 2});
  EXPECT_EQ(both.first, 0u);
  EXPECT_EQ(both.last, 1u);
  intents.set_durable(0);
  EXPECT_FALSE(intents.enter(both));
  EXPECT_TRUE(intents.retire(0, Retire::kAll)) << "a change that did not enter is not counted";
  intents.set_durable(0);
  intents.set_durable(1);
  EXPECT_TRUE(intents.enter(both));
  intents.leave(both);
}

TEST(RegionIntentsTest, ARegionUnderChangeIsNotRetired) {
  RegionIntents intents = make();
  intents.hold({0, 0});
  intents.set_durable(0);
  EXPECT_FALSE(intents.retire(0, Retire::kAll));
  EXPECT_TRUE(intents.is_durable(0));
  intents.leave({0, 0});
  EXPECT_TRUE(intents.retire(0, Retire::kAll));
  EXPECT_FALSE(intents.is_durable(0));
}

TEST(RegionIntentsTest, ARecentRegionIsRetiredTheSecondTime) {
  RegionIntents intents = make();
  intents.set_durable(0);
  EXPECT_FALSE(intents.retire(0, Retire::kIdle));
  EXPECT_TRUE(intents.enter({0, 0}));
  intents.leave({0, 0});
  EXPECT_FALSE(intents.retire(0, Retire::kIdle)) << "it was entered meanwhile";
  EXPECT_TRUE(intents.retire(0, Retire::kIdle));
}

TEST(RegionIntentsTest, TheLastRegionHasNoEnd) {
  RegionIntents intents = make();
  const auto regions = intents.regions_of({UINT64_MAX - 1, 1});
  EXPECT_EQ(regions.first, kRegions - 1);
  EXPECT_EQ(regions.last, kRegions - 1);
  EXPECT_EQ(intents.range_of(kRegions - 1).end(), UINT64_MAX);
  EXPECT_EQ(intents.range_of(1), (Range{kRegion, kRegion}));
}

// A region is never retired while a thread is inside, however the threads interleave.
TEST(RegionIntentsTest, ThreadsInsideExcludeRetirement) {
  RegionIntents intents = make();
  constexpr int kTimes = 50;
  std::atomic<int> inside = 0;
  std::atomic<int> entered = 0;
  std::atomic<bool> is_over = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; i++) {
    threads.emplace_back([&] {
      while (!is_over) {
        if (intents.enter({0, 0})) {
          inside++;
          entered++;
          inside--;
          intents.leave({0, 0});
        }
        std::this_thread::yield();
      }
    });
  }
  int retired = 0;
  while (retired < kTimes || entered < kTimes) {
    intents.set_durable(0);
    std::this_thread::yield();  // so that they can enter
    if (!intents.retire(0, Retire::kAll)) continue;
    retired++;
    EXPECT_EQ(inside.load(), 0);
  }
  is_over = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace blockexport::block
