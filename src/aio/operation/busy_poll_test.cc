#include "aio/operation/busy_poll.h"

#include <gtest/gtest.h>

namespace blockexport::aio {
namespace {

BusyPoll with(BusyPollLimits limits) {
  BusyPoll poll;
  poll.set_limits(limits);
  return poll;
}

TEST(BusyPollTest, NeverLooksWhenTheLimitIsZero) {
  BusyPoll poll = with({});
  poll.waited(1);
  EXPECT_EQ(poll.poll_ns(), 0u);
}

TEST(BusyPollTest, DoesNotLookBeforeWorkHasComeSoon) {
  BusyPoll poll = with({.max_ns = 32'768});
  EXPECT_EQ(poll.poll_ns(), 0u);
  poll.waited(32'769);
  EXPECT_EQ(poll.poll_ns(), 0u);
}

TEST(BusyPollTest, GrowsToTheLimitWhileLongerLooksWouldFindWork) {
  BusyPoll poll = with({.max_ns = 10'000});
  poll.waited(9'000);
  EXPECT_EQ(poll.poll_ns(), BusyPoll::kFirstNs);
  poll.waited(9'000);
  EXPECT_EQ(poll.poll_ns(), 2 * BusyPoll::kFirstNs);
  poll.waited(9'000);
  EXPECT_EQ(poll.poll_ns(), 10'000u);
}

TEST(BusyPollTest, GrowsByTheFactorGiven) {
  BusyPoll poll = with({.max_ns = 100'000, .grow = 5});
  poll.waited(50'000);
  poll.waited(50'000);
  EXPECT_EQ(poll.poll_ns(), 5 * BusyPoll::kFirstNs);
}

TEST(BusyPollTest, KeepsALookThatFoundWork) {
  BusyPoll poll = with({.max_ns = 100'000});
  poll.waited(50'000);
  poll.waited(BusyPoll::kFirstNs);
  EXPECT_EQ(poll.poll_ns(), BusyPoll::kFirstNs);
}

TEST(BusyPollTest, StopsAtOnceWhenEvenTheLongestFindsNothing) {
  BusyPoll poll = with({.max_ns = 100'000});
  for (int i = 0; i < 5; ++i) poll.waited(90'000);
  EXPECT_EQ(poll.poll_ns(), 64'000u);
  poll.waited(100'001);
  EXPECT_EQ(poll.poll_ns(), 0u);
}

TEST(BusyPollTest, ShrinksByTheDivisorGiven) {
  BusyPoll poll = with({.max_ns = 100'000, .shrink = 4});
  for (int i = 0; i < 5; ++i) poll.waited(90'000);
  poll.waited(100'001);
  EXPECT_EQ(poll.poll_ns(), 16'000u);
}

TEST(BusyPollTest, ALowerLimitHoldsAtOnce) {
  BusyPoll poll = with({.max_ns = 100'000});
  for (int i = 0; i < 5; ++i) poll.waited(90'000);
  poll.set_limits({.max_ns = 10'000});
  EXPECT_EQ(poll.poll_ns(), 10'000u);
  poll.set_limits({});
  EXPECT_EQ(poll.poll_ns(), 0u);
}

TEST(BusyPollTest, TheHugestFactorEndsAtTheLimit) {
  BusyPoll poll = with({.max_ns = UINT64_MAX, .grow = UINT64_MAX});
  poll.waited(1'000'000);
  poll.waited(1'000'000);
  EXPECT_EQ(poll.poll_ns(), UINT64_MAX);
}

}  // namespace
}  // namespace blockexport::aio
