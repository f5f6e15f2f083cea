#include "aio/sync/with_deadline.h"

#include <gtest/gtest.h>

#include <memory>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kShortNs = 1'000'000;
constexpr std::uint64_t kLongNs = 60'000'000'000;

class WithDeadlineTest : public testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();

  Task<IoResult> sleep(std::uint64_t ns) { co_return co_await reactor().sleep_until(deadline_after(reactor(), ns)); }
  Task<void> sleep_without_result(std::uint64_t ns) { (void)co_await sleep(ns); }
  // A value that owns something, made in spite of the cancellation.
  Task<std::unique_ptr<int>> make_after(std::uint64_t ns) {
    (void)co_await sleep(ns);
    co_return std::make_unique<int>(7);
  }
  Task<void> sleep_within(std::uint64_t ns, std::uint64_t limit_ns, std::optional<Timed<IoResult>>& outcome) {
    Task<IoResult> sleeping = sleep(ns);
    outcome.emplace(co_await with_deadline("sleep", deadline_after(reactor(), limit_ns), std::move(sleeping)));
  }
  Task<void> wait_within(Event& event, std::uint64_t limit_ns, IoResult& result) {
    result = co_await with_deadline("wait", deadline_after(reactor(), limit_ns), event);
  }
};
BLOCKEXPORT_FOR_EACH_BACKEND(WithDeadlineTest);

TASK_TEST_P(WithDeadlineTest, WorkThatEndsInTimeIsNotCancelled) {
  for (const auto& [ns, limit_ns] : {std::pair{std::uint64_t{0}, UINT64_MAX}, {kShortNs, kLongNs}}) {
    std::optional<Timed<IoResult>> outcome;
    co_await sleep_within(ns, limit_ns, outcome);
    EXPECT_TRUE(outcome->value.has_value());
    EXPECT_FALSE(outcome->is_late);
  }
}

TASK_TEST_P(WithDeadlineTest, WorkThatTakesLongerIsCancelled) {
  std::optional<Timed<IoResult>> outcome;
  co_await sleep_within(UINT64_MAX, kShortNs, outcome);
  EXPECT_TRUE(outcome->is_late);
  CO_ASSERT(!outcome->value);
  EXPECT_EQ(outcome->value.error(), Errno(ECANCELED));
}

TASK_TEST_P(WithDeadlineTest, TheValueOfLateWorkIsNotLost) {
  Task<std::unique_ptr<int>> making = make_after(UINT64_MAX);
  auto [made, is_late] = co_await with_deadline("make", deadline_after(reactor(), kShortNs), std::move(making));
  EXPECT_TRUE(is_late);
  CO_ASSERT(made != nullptr);
  EXPECT_EQ(*made, 7);
}

TASK_TEST_P(WithDeadlineTest, WorkWithoutAResultSaysWhetherItWasLate) {
  Task<void> endless = sleep_without_result(UINT64_MAX);
  EXPECT_TRUE(co_await with_deadline("sleep", deadline_after(reactor(), kShortNs), std::move(endless)));
  Task<void> brief = sleep_without_result(kShortNs);
  EXPECT_FALSE(co_await with_deadline("sleep", deadline_after(reactor(), kLongNs), std::move(brief)));
}

TASK_TEST_P(WithDeadlineTest, TheCancellationOfTheCallerCancelsTheWork) {
  std::optional<Timed<IoResult>> outcome;
  Scope scope(reactor());
  scope.spawn("caller", sleep_within(UINT64_MAX, UINT64_MAX, outcome));
  scope.cancel();
  co_await scope.join();
  EXPECT_FALSE(outcome->is_late);
  CO_ASSERT(!outcome->value);
  EXPECT_EQ(outcome->value.error(), Errno(ECANCELED));
}

TASK_TEST_P(WithDeadlineTest, AnEventThatIsSetInTimeEndsTheWait) {
  Event event(reactor());
  IoResult result = fail(EINVAL);
  Scope scope(reactor());
  scope.spawn("waiter", wait_within(event, kLongNs, result));
  event.set();
  co_await scope.join();
  EXPECT_TRUE(result.has_value());
}

TASK_TEST_P(WithDeadlineTest, AnEventThatIsNotSetInTimeGivesATimeout) {
  Event event(reactor());
  IoResult result;
  co_await wait_within(event, kShortNs, result);
  CO_ASSERT(!result);
  EXPECT_EQ(result.error(), Errno(ETIMEDOUT));
}

TASK_TEST_P(WithDeadlineTest, ACancelledWaitForAnEventIsNoTimeout) {
  Event event(reactor());
  IoResult result;
  Scope scope(reactor());
  scope.spawn("waiter", wait_within(event, kLongNs, result));
  scope.cancel();
  co_await scope.join();
  CO_ASSERT(!result);
  EXPECT_EQ(result.error(), Errno(ECANCELED));
}

}  // namespace
}  // namespace blockexport::aio
