#include "aio/reactor/reactor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/backends.h"
#include "base/owned_fd.h"

namespace blockexport::aio {
namespace {

class ReactorTest : public testing::ForEachBackend {};
BLOCKEXPORT_FOR_EACH_BACKEND(ReactorTest);

Task<void> sleep_and_note(Reactor& reactor, std::uint64_t deadline_ns, int name, std::vector<int>& order, bool& early) {
  IoResult slept = co_await reactor.sleep_until(deadline_ns);
  early = early || !slept || reactor.now_ns() < deadline_ns;
  order.push_back(name);
}

TEST_P(ReactorTest, TimersFireInOrderAndNeverEarly) {
  std::vector<int> order;
  bool early = false;
  Scope scope(reactor());
  std::uint64_t now = reactor().now_ns();
  for (int name : {5, 1, 4, 2, 3}) {
    auto deadline_ns = now + static_cast<std::uint64_t>(name) * 3'000'000;
    scope.spawn("sleeper", sleep_and_note(reactor(), deadline_ns, name, order, early));
  }
  run(scope.join());
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4, 5}));
  EXPECT_FALSE(early);
}

TEST_P(ReactorTest, ATimerOfThePastFiresInTheNextTurn) {
  std::vector<int> order;
  bool early = false;
  run(sleep_and_note(reactor(), 0, 1, order, early));
  EXPECT_EQ(order.size(), 1u);
}

TEST_P(ReactorTest, RunsWhatOtherThreadsPostUntilStopped) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 250;
  int count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < kPosts; ++j) {
        reactor().post([&] {
          if (++count == kThreads * kPosts) reactor().stop();
        });
      }
    });
  }
  if (simulated()) {
    // A simulation does not know of other threads: the reactor must not wait before they have posted.
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  }
  reactor().run();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, kThreads * kPosts);
}

Task<void> call(Reactor& reactor, std::int64_t (*function)(void*), void* argument,
                std::expected<std::int64_t, Errno>& result) {
  result = co_await reactor.call(function, argument);
}

std::int64_t add_one(void* argument) {
  return *static_cast<int*>(argument) + 1;
}
std::int64_t give_error(void*) {
  return -ENODATA;
}

TEST_P(ReactorTest, CallGivesWhatTheFunctionGives) {
  int argument = 41;
  std::expected<std::int64_t, Errno> result;
  run(call(reactor(), add_one, &argument, result));
  EXPECT_EQ(result, 42);
  run(call(reactor(), give_error, nullptr, result));
  EXPECT_EQ(result, (std::expected<std::int64_t, Errno>(fail(ENODATA))));
}

Task<void> many_calls(Reactor& reactor, std::int64_t& sum) {
  Scope scope(reactor);
  std::vector<std::expected<std::int64_t, Errno>> results(200);
  int argument = 0;
  for (auto& result : results) scope.spawn("call", call(reactor, add_one, &argument, result));
  co_await scope.join();
  for (auto& result : results) sum += result.value_or(1000);
}

TEST_P(ReactorTest, MoreCallsThanWorkersAllEnd) {
  std::int64_t sum = 0;
  run(many_calls(reactor(), sum));
  EXPECT_EQ(sum, 200);
}

Task<void> yield_often(int& turns) {
  for (; turns < 1000; ++turns) co_await next_turn();
}

Task<void> call_while_others_run(Reactor& reactor, int& turns_at_end, int& turns) {
  int argument = 1;
  std::expected<std::int64_t, Errno> result;
  Scope scope(reactor);
  scope.spawn("busy", yield_often(turns));
  co_await call(reactor, add_one, &argument, result);
  turns_at_end = turns;
  turns = std::max(turns, 1000);
  co_await scope.join();
}

// Only in a simulation the duration of the call is known.
TEST(ReactorTurnTest, ABusyTaskDoesNotKeepCompletionsAway) {
  Simulation simulation({.latency_max_ns = 2'000});
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  int turns = 0;
  int turns_at_end = 1000;
  testing::run(*reactor, call_while_others_run(*reactor, turns_at_end, turns));
  EXPECT_LT(turns_at_end, 100);
}

Task<void> wait_for_bytes(Reactor& reactor, int fd, int count) {
  for (int i = 0; i < count; ++i) {
    (void)co_await reactor.poll(fd, POLLIN);
    char byte;
    EXPECT_EQ(read(fd, &byte, 1), 1);
  }
}

void write_now_and_then(int fd, int count) {
  for (int i = 0; i < count; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(write(fd, "a", 1), 1);
  }
}

// It uses a real clock: the time of a simulation stands still while the reactor polls.
TEST(ReactorTurnTest, WorkThatComesWhileItLooksIsFoundWithoutSleep) {
  constexpr int kBytes = 20;
  for (BackendKind kind : {BackendKind::kAuto, BackendKind::kEpoll}) {
    Log log("test", STDERR_FILENO, LogLevel::kError);
    ReactorOptions options;
    options.backend = kind;
    options.busy_poll = {.max_ns = 60'000'000'000, .grow = UINT64_MAX};
    auto reactor = Reactor::create(options, log);
    ASSERT_TRUE(reactor.has_value());
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    std::thread writer(write_now_and_then, ends[1], kBytes);
    // The reactor begins to poll once work has arrived soon after it went to sleep.
    testing::run(**reactor, wait_for_bytes(**reactor, ends[0], 1));
    std::uint64_t before = (*reactor)->times_waited();
    testing::run(**reactor, wait_for_bytes(**reactor, ends[0], kBytes - 1));
    EXPECT_LT((*reactor)->times_waited() - before, 3u) << (*reactor)->backend_name();
    writer.join();
    close(ends[0]);
    close(ends[1]);
  }
}

// Waits for a timer of `delay_ns`, as for a client that answers after that time.
Task<void> wait_for_timer(Reactor& reactor, int fd, long delay_ns) {
  const itimerspec once{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = delay_ns}};
  EXPECT_EQ(timerfd_settime(fd, 0, &once, nullptr), 0);
  reactor.expect_work();
  (void)co_await reactor.poll(fd, POLLIN);
  std::uint64_t times;
  EXPECT_EQ(read(fd, &times, sizeof times), static_cast<ssize_t>(sizeof times));
}

// Not in a simulation either. A busy machine makes the reactor pause, so the test waits until it has polled.
TEST(ReactorTurnTest, ExpectedWorkThatComesSoonIsPolledFor) {
  constexpr int kRow = 8;
  constexpr auto kPatience = std::chrono::seconds(60);
  for (BackendKind kind : {BackendKind::kAuto, BackendKind::kEpoll}) {
    Log log("test", STDERR_FILENO, LogLevel::kError);
    ReactorOptions options;
    options.backend = kind;
    options.short_poll = true;
    auto reactor = Reactor::create(options, log);
    ASSERT_TRUE(reactor.has_value());
    const OwnedFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    const auto end = std::chrono::steady_clock::now() + kPatience;
    int in_a_row = 0;
    while (in_a_row < kRow && std::chrono::steady_clock::now() < end) {
      const std::uint64_t before = (*reactor)->times_waited();
      testing::run(**reactor, wait_for_timer(**reactor, timer.get(), 15'000));
      in_a_row = (*reactor)->times_waited() == before ? in_a_row + 1 : 0;
    }
    EXPECT_EQ(in_a_row, kRow) << (*reactor)->backend_name();
  }
}

Task<void> hold_the_loop(Reactor& reactor) {
  co_await next_turn();
  std::uint64_t end_ns = reactor.now_ns() + 3'000'000;
  while (reactor.now_ns() < end_ns) {
  }
}

Task<void> work_and_wait(Reactor& reactor, std::uint64_t work_ns, std::uint64_t wait_ns) {
  co_await next_turn();
  const std::uint64_t end_ns = reactor.now_ns() + work_ns;
  while (reactor.now_ns() < end_ns) {
  }
  (void)co_await reactor.sleep_until(reactor.now_ns() + wait_ns);
}

// It uses a real clock: the time of a simulation stands still while the task works.
TEST(ReactorTurnTest, CountsTheTimeOfWorkAndNotThatOfWaits) {
  constexpr std::uint64_t kWorkNs = 20'000'000;
  constexpr std::uint64_t kWaitNs = 50'000'000;
  for (BackendKind kind : {BackendKind::kAuto, BackendKind::kEpoll}) {
    for (const bool polls : {false, true}) {
      Log log("test", STDERR_FILENO, LogLevel::kError);
      ReactorOptions options;
      options.backend = kind;
      if (polls) options.busy_poll = {.max_ns = 60'000'000'000, .grow = UINT64_MAX};
      auto reactor = Reactor::create(options, log);
      ASSERT_TRUE(reactor.has_value());
      const std::uint64_t before_ns = (*reactor)->busy_ns();
      const std::uint64_t began_ns = (*reactor)->now_ns();
      testing::run(**reactor, work_and_wait(**reactor, kWorkNs, kWaitNs));
      // The last turn counts when it has ended.
      (void)(*reactor)->run_once(0);
      const std::uint64_t busy_ns = (*reactor)->busy_ns() - before_ns;
      EXPECT_GE(busy_ns, kWorkNs) << (*reactor)->backend_name();
      // The wait may be longer, on a busy machine the work too.
      EXPECT_LE(busy_ns, (*reactor)->now_ns() - began_ns - kWaitNs + kWaitNs / 5) << (*reactor)->backend_name();
    }
  }
}

TEST(ReactorLogTest, NamesTheTaskThatHoldsTheLoop) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Log log("test", ends[1], LogLevel::kDebug);
  ReactorOptions options;
  options.backend = BackendKind::kEpoll;
  options.stall_report_ns = 1'000'000;
  auto reactor = Reactor::create(options, log);
  ASSERT_TRUE(reactor.has_value());
  testing::run(**reactor, hold_the_loop(**reactor));
  char text[512] = {};
  ASSERT_GT(read(ends[0], text, sizeof text - 1), 0);
  EXPECT_NE(std::string(text).find("ms by 'test', resumed at"), std::string::npos) << text;
  EXPECT_NE(std::string(text).find("reactor_test.cc:"), std::string::npos) << text;
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace blockexport::aio
