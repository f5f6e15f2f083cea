#include "drivers/file/write_backoff.h"

#include <gtest/gtest.h>

namespace blockexport::drivers {
namespace {

constexpr std::uint64_t kStart = 1'000'000'000'000;
constexpr std::uint64_t kLong = WriteBackoff::kStallNs + 1;

TEST(WriteBackoff, LetsWritesThroughUnwatchedUntilOneIsLong) {
  WriteBackoff backoff;
  EXPECT_TRUE(backoff.admits(0));
  EXPECT_FALSE(backoff.watches(0));
  EXPECT_FALSE(WriteBackoff::is_long(WriteBackoff::kStallNs));
  EXPECT_TRUE(WriteBackoff::is_long(kLong));
}

TEST(WriteBackoff, WatchesAfterALongWriteAndGoesOnWriting) {
  WriteBackoff backoff;
  backoff.took_long(kStart, kLong, false);
  EXPECT_TRUE(backoff.admits(kStart));
  EXPECT_TRUE(backoff.watches(kStart + WriteBackoff::kWatchNs - 1));
  EXPECT_FALSE(backoff.watches(kStart + WriteBackoff::kWatchNs));
}

TEST(WriteBackoff, BacksOffInProportionToTheStallThenTriesAgainAndWatches) {
  WriteBackoff backoff;
  backoff.took_long(kStart, kLong, true);
  const std::uint64_t end = kStart + kLong * WriteBackoff::kBackoffFactor;
  EXPECT_FALSE(backoff.admits(kStart));
  EXPECT_FALSE(backoff.admits(end - 1));
  EXPECT_TRUE(backoff.admits(end));
  EXPECT_TRUE(backoff.watches(end));
  backoff.took_long(end, 60'000'000'000, true);
  EXPECT_FALSE(backoff.admits(end + WriteBackoff::kBackoffNsMax - 1));
  EXPECT_TRUE(backoff.admits(end + WriteBackoff::kBackoffNsMax));
}

}  // namespace
}  // namespace blockexport::drivers
