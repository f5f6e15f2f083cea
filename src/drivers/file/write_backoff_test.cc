#include "block/write_guard.h"

#include <gtest/gtest.h>

namespace blockexport::block {
namespace {

constexpr std::uint64_t kStart = 1'000'000'000'000;
constexpr std::uint64_t kLong = WriteGuard::kStallNs + 1;

TEST(WriteGuard, LetsWritesThroughUnwatchedUntilOneIsLong) {
  WriteGuard guard;
  EXPECT_TRUE(guard.admits(0));
  EXPECT_FALSE(guard.watches(0));
  EXPECT_FALSE(WriteGuard::is_long(WriteGuard::kStallNs));
  EXPECT_TRUE(WriteGuard::is_long(kLong));
}

TEST(WriteGuard, WatchesAfterALongWriteAndGoesOnWriting) {
  WriteGuard guard;
  guard.took_long(kStart, kLong, false);
  EXPECT_TRUE(guard.admits(kStart));
  EXPECT_TRUE(guard.watches(kStart + WriteGuard::kWatchNs - 1));
  EXPECT_FALSE(guard.watches(kStart + WriteGuard::kWatchNs));
}

TEST(WriteGuard, RestsInProportionToTheStallThenTriesAgainAndWatches) {
  WriteGuard guard;
  guard.took_long(kStart, kLong, true);
  const std::uint64_t end = kStart + kLong * WriteGuard::kRestFactor;
  EXPECT_FALSE(guard.admits(kStart));
  EXPECT_FALSE(guard.admits(end - 1));
  EXPECT_TRUE(guard.admits(end));
  EXPECT_TRUE(guard.watches(end));
  guard.took_long(end, 60'000'000'000, true);
  EXPECT_FALSE(guard.admits(end + WriteGuard::kRestNsMax - 1));
  EXPECT_TRUE(guard.admits(end + WriteGuard::kRestNsMax));
}

}  // namespace
}  // namespace blockexport::block
