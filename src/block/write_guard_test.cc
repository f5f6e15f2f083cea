#include "block/write_guard.h"

#include <gtest/gtest.h>

namespace blockexport::block {
namespace {

constexpr std::uint64_t kStart = 1'000'000'000'000;
constexpr std::uint64_t kLong = WriteGuard::kStallNs + 1;

TEST(WriteGuard, LetsWritesThroughUntilOneStalls) {
  WriteGuard guard;
  EXPECT_TRUE(guard.admits(0));
  EXPECT_FALSE(guard.asks_for_proof(0));
  EXPECT_FALSE(WriteGuard::is_stall(WriteGuard::kStallNs));
  EXPECT_TRUE(WriteGuard::is_stall(kLong));
}

TEST(WriteGuard, RestsInProportionToTheStallThenTriesAgain) {
  WriteGuard guard;
  guard.stalled(kStart, kLong, true);
  const std::uint64_t end = kStart + kLong * WriteGuard::kRestFactor;
  EXPECT_FALSE(guard.admits(kStart));
  EXPECT_FALSE(guard.admits(end - 1));
  EXPECT_TRUE(guard.admits(end));
  guard.stalled(end, 60'000'000'000, true);
  EXPECT_FALSE(guard.admits(end + WriteGuard::kRestNsMax - 1));
  EXPECT_TRUE(guard.admits(end + WriteGuard::kRestNsMax));
}

TEST(WriteGuard, AsksForProofAfterARestAndRestsOnlyWithIt) {
  WriteGuard guard;
  guard.stalled(kStart, kLong, true);
  const std::uint64_t again = kStart + kLong * WriteGuard::kRestFactor;
  EXPECT_TRUE(guard.asks_for_proof(again));
  guard.stalled(again, kLong, false);
  EXPECT_TRUE(guard.admits(again));
  // What looked like a stall keeps the doubt alive.
  EXPECT_TRUE(guard.asks_for_proof(again + WriteGuard::kDoubtNs - 1));
  EXPECT_FALSE(guard.asks_for_proof(again + WriteGuard::kDoubtNs));
  guard.stalled(again, kLong, true);
  EXPECT_FALSE(guard.admits(again));
}

}  // namespace
}  // namespace blockexport::block
