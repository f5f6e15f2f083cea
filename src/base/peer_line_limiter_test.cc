#include "base/peer_line_limiter.h"

#include <gtest/gtest.h>

#include <string>

namespace blockexport {
namespace {

using Verdict = PeerLineLimiter::Verdict;

constexpr std::uint64_t kStart = 5'000'000'000;

TEST(PeerLineLimiter, AGroupHasItsLinesAndTheRestIsCounted) {
  PeerLineLimiter limiter;
  for (std::uint64_t i = 1; i < kPeerLinesMax; ++i) EXPECT_EQ(limiter.admit("10.0.0.1", kStart + i), Verdict::kWrite);
  EXPECT_EQ(limiter.admit("10.0.0.1", kStart + 100), Verdict::kWriteAsLast);
  EXPECT_EQ(limiter.due_ns(), UINT64_MAX);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(limiter.admit("10.0.0.1", kStart + 200), Verdict::kCount);
  EXPECT_EQ(limiter.admit("10.0.0.2", kStart + 300), Verdict::kWrite);
  EXPECT_EQ(limiter.due_ns(), kStart + 1 + kPeerWindowNs);
  EXPECT_EQ(limiter.take_due(), "1000 more lines about peers were left out in the last 60 s: 1000 about 10.0.0.1");
  EXPECT_EQ(limiter.due_ns(), UINT64_MAX);
  EXPECT_EQ(limiter.admit("10.0.0.1", kStart + 400), Verdict::kWrite);
}

TEST(PeerLineLimiter, AQuietPeerNeverMeetsTheLimit) {
  PeerLineLimiter limiter;
  for (std::uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(limiter.admit("uid 0", kStart + i * (kPeerWindowNs / 10)), Verdict::kWrite);
  }
  EXPECT_EQ(limiter.take_due(), "");
}

TEST(PeerLineLimiter, AllGroupsTogetherHaveALimitToo) {
  PeerLineLimiter limiter;
  std::uint64_t written = 0;
  for (int i = 0; i < 100'000; ++i) {
    written +=
        limiter.admit("10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256), kStart) == Verdict::kCount ? 0
                                                                                                                    : 1;
  }
  EXPECT_EQ(written, kAllPeerLinesMax);
  const std::string text = limiter.take_due();
  EXPECT_TRUE(text.starts_with("99800 more lines about peers were left out in the last 60 s: 1 about ")) << text;
  EXPECT_TRUE(text.ends_with(", 99797 about others")) << text;
}

TEST(PeerLineLimiter, TheLoudestGroupsAreNamed) {
  PeerLineLimiter limiter;
  for (std::uint64_t i = 0; i < kPeerLinesMax; ++i) {
    for (const char* group : {"a", "b", "c", "d", "e"}) (void)limiter.admit(group, kStart);
  }
  for (int i = 0; i < 5; ++i) (void)limiter.admit("d", kStart);
  for (int i = 0; i < 3; ++i) (void)limiter.admit("b", kStart);
  for (int i = 0; i < 7; ++i) (void)limiter.admit("e", kStart);
  (void)limiter.admit("a", kStart);
  EXPECT_EQ(limiter.take_due(),
            "16 more lines about peers were left out in the last 60 s: 7 about e, 5 about d, 3 about b, 1 about "
            "others");
}

}  // namespace
}  // namespace blockexport
