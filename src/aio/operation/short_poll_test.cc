#include "aio/operation/short_poll.h"

#include <gtest/gtest.h>

#include <random>

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kPrompt = 50'000;

// A thread whose waits and preemptions the test chooses. Time goes on with its waits.
class Thread {
 public:
  std::uint64_t poll_ns() const { return poll_.poll_ns(); }
  bool polls() const { return poll_.poll_ns() > 0; }

  void wait(std::uint64_t wait_ns) {
    const bool found = wait_ns <= poll_.poll_ns();
    vain_ns_ += found ? 0 : poll_.poll_ns();
    now_ns_ += wait_ns;
    poll_.waited(wait_ns, found, now_ns_, [this] {
      ++checks_;
      return preemptions_;
    });
  }
  void wait_often(int times, std::uint64_t wait_ns) {
    for (int i = 0; i < times; ++i) wait(wait_ns);
  }
  void pass(std::uint64_t time_ns) { now_ns_ += time_ns; }
  void preempt() { ++preemptions_; }
  std::uint64_t now_ns() const { return now_ns_; }
  std::uint64_t vain_ns() const { return vain_ns_; }
  std::uint64_t checks() const { return checks_; }

 private:
  ShortPoll poll_;
  std::uint64_t now_ns_ = 1;
  std::uint64_t preemptions_ = 7;
  std::uint64_t vain_ns_ = 0;
  std::uint64_t checks_ = 0;
};

TEST(ShortPollTest, BeginsAfterPromisingWaitsInARow) {
  Thread thread;
  thread.wait_often(ShortPoll::kLearnedWaits - 1, kPrompt);
  EXPECT_FALSE(thread.polls());
  thread.wait(ShortPoll::kPromisingWaitNs + 1);
  thread.wait_often(ShortPoll::kLearnedWaits - 1, ShortPoll::kPromisingWaitNs);
  EXPECT_FALSE(thread.polls());
  thread.wait(kPrompt);
  EXPECT_EQ(thread.poll_ns(), ShortPoll::kPollNs);
}

TEST(ShortPollTest, GoesOnWhileItFindsWork) {
  Thread thread;
  thread.wait_often(ShortPoll::kLearnedWaits, kPrompt);
  for (int i = 0; i < 10'000; ++i) {
    thread.wait(20'000);
    ASSERT_TRUE(thread.polls()) << i;
  }
  EXPECT_EQ(thread.vain_ns(), 0u);
}

TEST(ShortPollTest, SomeVainPollsDoNotEndIt) {
  Thread thread;
  thread.wait_often(ShortPoll::kLearnedWaits, kPrompt);
  for (int i = 0; i < 10'000; ++i) thread.wait(i % 8 == 0 ? 1'000'000 : 20'000);
  EXPECT_TRUE(thread.polls());
}

TEST(ShortPollTest, PausesWhenPollsAreVain) {
  Thread thread;
  thread.wait_often(ShortPoll::kLearnedWaits, kPrompt);
  thread.wait_often(ShortPoll::kVainPolls, 50'000);
  EXPECT_TRUE(thread.polls());
  thread.wait(50'000);
  EXPECT_FALSE(thread.polls());
  // The pause ends after kPauseMinNs; then it has to learn again.
  thread.wait_often(ShortPoll::kLearnedWaits, kPrompt);
  EXPECT_FALSE(thread.polls());
  thread.pass(ShortPoll::kPauseMinNs);
  thread.wait_often(ShortPoll::kLearnedWaits, kPrompt);
  EXPECT_TRUE(thread.polls());
}

// Waits that look promising but are always a little longer than a poll.
TEST(ShortPollTest, WrongGuessesCostLittleInTheLongRun) {
  Thread thread;
  while (thread.now_ns() < 20'000'000'000) thread.wait(ShortPoll::kPollNs + 10'000);
  EXPECT_LT(thread.vain_ns(), thread.now_ns() / 1000);
}

TEST(ShortPollTest, AnIdleClientCausesNoPoll) {
  Thread thread;
  thread.wait_often(1'000, 1'000'000);
  EXPECT_EQ(thread.vain_ns(), 0u);
  EXPECT_EQ(thread.checks(), 0u);
}

// A thousand clients that ask once a second, each at a time of its own: some waits are short by chance.
TEST(ShortPollTest, ACrowdThatAsksAtRandomCausesHardlyAnyPoll) {
  Thread thread;
  std::mt19937_64 random(1);
  std::exponential_distribution<double> wait_ns(1.0 / 1'000'000);
  while (thread.now_ns() < 1'000'000'000'000) thread.wait(static_cast<std::uint64_t>(wait_ns(random)));
  EXPECT_LT(thread.vain_ns(), thread.now_ns() / 10'000);
}

TEST(ShortPollTest, DoesNotBeginWhereOthersWantTheProcessor) {
  Thread thread;
  for (int i = 0; i < 100'000; ++i) {
    thread.wait(kPrompt);
    thread.preempt();
    ASSERT_FALSE(thread.polls());
  }
  // The check costs a system call, so it is as rare as the pauses.
  EXPECT_LT(thread.checks(), 50u);
}

TEST(ShortPollTest, PausesSoonWhenOthersWantTheProcessor) {
  Thread thread;
  thread.wait_often(ShortPoll::kLearnedWaits, kPrompt);
  thread.preempt();
  thread.wait_often(ShortPoll::kPollsPerCheck, 20'000);
  EXPECT_FALSE(thread.polls());
}

TEST(ShortPollTest, PausesBecomeLongerAndShortAgainWhenPollingHasPaid) {
  Thread thread;
  const auto pause_ns = [&] {
    const std::uint64_t before_ns = thread.now_ns();
    while (!thread.polls()) thread.wait(10'000);
    return thread.now_ns() - before_ns;
  };
  const auto interrupt = [&] {
    thread.preempt();
    while (thread.polls()) thread.wait(10'000);
  };
  (void)pause_ns();
  interrupt();
  const std::uint64_t first_ns = pause_ns();
  interrupt();
  EXPECT_GT(pause_ns(), first_ns + ShortPoll::kPauseMinNs / 2);
  for (int i = 0; i < 20; ++i) {
    interrupt();
    EXPECT_LT(pause_ns(), ShortPoll::kPauseMaxNs + 1'000'000);
  }
  const std::uint64_t paid_until_ns = thread.now_ns() + ShortPoll::kPayingPauses * ShortPoll::kPauseMaxNs;
  while (thread.now_ns() < paid_until_ns) thread.wait(20'000);
  interrupt();
  EXPECT_LE(pause_ns(), first_ns + 100'000);
}

}  // namespace
}  // namespace blockexport::aio
