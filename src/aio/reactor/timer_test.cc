#include "aio/reactor/timer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "aio/sim/random.h"
#include "aio/sync/scope.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

class TimerTest : public testing::ForEachBackend {};
BLOCKEXPORT_FOR_EACH_BACKEND(TimerTest);

Task<void> sleep_and_note(Reactor& reactor, std::uint64_t deadline_ns, std::vector<std::uint64_t>& woken, int& cut) {
  IoResult slept = co_await reactor.sleep_until(deadline_ns);
  if (slept) {
    woken.push_back(deadline_ns);
  } else {
    EXPECT_EQ(slept.error(), Errno(ECANCELED));
    ++cut;
  }
}

// Cancelled timers are removed from the middle of the heap; the others still fire in order.
TEST_P(TimerTest, CancellingSomeKeepsTheOrderOfTheOthers) {
  constexpr int kTimers = 300;
  Random random(7);
  std::uint64_t now = reactor().now_ns();
  std::vector<std::uint64_t> woken;
  int cut = 0;
  Scope kept(reactor());
  Scope given_up(reactor());
  for (int i = 0; i < kTimers; ++i) {
    std::uint64_t deadline_ns = now + random.below(20'000'000);
    bool give_up = random.one_in(3);
    // Late enough that it does not fire before it is cancelled.
    if (give_up) deadline_ns += 3600 * kSecondNs;
    (give_up ? given_up : kept).spawn("sleeper", sleep_and_note(reactor(), deadline_ns, woken, cut));
  }
  std::size_t to_wake = kept.size();
  auto to_cut = static_cast<int>(given_up.size());
  given_up.cancel();
  run(given_up.join());
  run(kept.join());
  EXPECT_EQ(cut, to_cut);
  EXPECT_EQ(woken.size(), to_wake);
  EXPECT_TRUE(std::ranges::is_sorted(woken));
}

TEST_P(TimerTest, ACancelledTaskDoesNotSleep) {
  std::vector<std::uint64_t> woken;
  int cut = 0;
  Scope scope(reactor());
  scope.cancel();
  scope.spawn("sleeper", sleep_and_note(reactor(), reactor().now_ns() + 3600 * kSecondNs, woken, cut));
  EXPECT_EQ(scope.size(), 0u);
  EXPECT_EQ(cut, 1);
}

TEST_P(TimerTest, CancellingTwiceWakesOnce) {
  std::vector<std::uint64_t> woken;
  int cut = 0;
  Scope scope(reactor());
  scope.spawn("sleeper", sleep_and_note(reactor(), reactor().now_ns() + 3600 * kSecondNs, woken, cut));
  scope.cancel();
  scope.cancel();
  run(scope.join());
  EXPECT_EQ(cut, 1);
}

// The timer has fired, but its task has not run yet: the cancellation comes too late.
TEST_P(TimerTest, ATimerThatHasFiredIsNotCancelledAnyMore) {
  std::vector<std::uint64_t> woken;
  int cut = 0;
  Scope scope(reactor());
  scope.spawn("sleeper", sleep_and_note(reactor(), reactor().now_ns(), woken, cut));
  // Posted work runs after timers are collected and before tasks.
  reactor().post([&] { scope.cancel(); });
  run(scope.join());
  EXPECT_EQ(woken.size(), 1u);
  EXPECT_EQ(cut, 0);
}

TEST(SimulatedTimerTest, AYearPassesAtOnce) {
  constexpr std::uint64_t kYearNs = 365 * 86400 * kSecondNs;
  Simulation simulation;
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  std::uint64_t end_ns = reactor->now_ns() + kYearNs;
  std::vector<std::uint64_t> woken;
  int cut = 0;
  testing::run(*reactor, sleep_and_note(*reactor, end_ns, woken, cut));
  EXPECT_EQ(woken, std::vector{end_ns});
  EXPECT_GE(reactor->now_ns(), end_ns);
}

}  // namespace
}  // namespace blockexport::aio
