#include "block/node_statistics.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/errno.h"

namespace blockexport::block {
namespace {

TEST(NodeStatisticsTest, SumsTheSetsOfAllReactors) {
  NodeCounterSets sets;
  int one = 0;
  int other = 0;
  NodeCounters& mine = sets.on(&one);
  EXPECT_EQ(&sets.on(&one), &mine);
  EXPECT_NE(&sets.on(&other), &mine);
  mine.read.count(512, {}, 10);
  mine.raise_highest_written_offset(100);
  mine.raise_highest_written_offset(50);
  sets.on(&other).read.count(1024, {}, 20, 3);
  sets.on(&other).read.count(4096, std::unexpected(Errno(EIO)), 30);
  sets.on(&other).raise_highest_written_offset(70);
  const NodeStatistics sum = sets.sum();
  EXPECT_EQ(sum.read.operations(), 4u);
  EXPECT_EQ(sum.read.bytes(), 1536u);
  EXPECT_EQ(sum.read.failed(), 1u);
  EXPECT_EQ(sum.read.total_time_ns(), 60u);
  EXPECT_EQ(sum.highest_written_offset, 100u);
  EXPECT_EQ(sum.write.operations(), 0u);
}

TEST(NodeStatisticsTest, ReactorsShareNoCacheLine) {
  NodeCounterSets sets;
  std::array<int, 3> reactors{};
  for (const int& reactor : reactors) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&sets.on(&reactor)) % kCacheLineBytes, 0u);
  }
}

TEST(NodeStatisticsTest, ThreadsThatCountAtOnceLoseNothing) {
  constexpr std::size_t kThreads = 8;
  constexpr std::uint64_t kRequests = 20'000;
  NodeCounterSets sets;
  std::array<int, kThreads> reactors{};
  std::vector<std::thread> threads;
  for (const int& reactor : reactors) {
    threads.emplace_back([&sets, &reactor] {
      for (std::uint64_t i = 0; i < kRequests; ++i) sets.on(&reactor).write.count(2, {}, 1);
    });
  }
  std::uint64_t seen = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t now = sets.sum().write.operations();
    EXPECT_GE(now, seen);
    seen = now;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sets.sum().write.operations(), kThreads * kRequests);
  EXPECT_EQ(sets.sum().write.bytes(), 2 * kThreads * kRequests);
}

TEST(NodeStatisticsTest, TheNumberOfSetsIsLimited) {
  NodeCounterSets sets;
  std::vector<int> reactors(kCounterSetsMax + 2);
  for (const int& reactor : reactors) sets.on(&reactor).flush.count(0, {}, 0);
  EXPECT_NE(&sets.on(&reactors[kCounterSetsMax - 1]), &sets.on(&reactors[kCounterSetsMax]));
  EXPECT_EQ(&sets.on(&reactors[kCounterSetsMax]), &sets.on(&reactors[kCounterSetsMax + 1]));
  EXPECT_EQ(sets.sum().flush.operations(), kCounterSetsMax + 2);
}

}  // namespace
}  // namespace blockexport::block
