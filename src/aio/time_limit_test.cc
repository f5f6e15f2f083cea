#include "aio/time_limit.h"

#include <gtest/gtest.h>

#include "aio/reactor.h"
#include "aio/scope.h"
#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"

namespace blockexport::aio {
namespace {

class TimeLimitTest : public testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();

  Task<void> sleep(std::uint64_t ns, IoResult& result) {
    result = co_await reactor().sleep_until(deadline_after(reactor(), ns));
  }
  Task<void> sleep_within(std::uint64_t ns, std::uint64_t limit_ns, IoResult& result, bool& cut) {
    cut = co_await run_within(reactor(), "sleep", deadline_after(reactor(), limit_ns), sleep(ns, result));
  }
};
BLOCKEXPORT_FOR_EACH_BACKEND(TimeLimitTest);

TASK_TEST_P(TimeLimitTest, WhatEndsInTimeIsLeftAlone) {
  IoResult result = fail(EINVAL);
  bool cut = true;
  co_await sleep_within(0, UINT64_MAX, result, cut);
  EXPECT_TRUE(result.has_value());
  EXPECT_FALSE(cut);
  co_await sleep_within(1'000'000, 60'000'000'000, result, cut);
  EXPECT_TRUE(result.has_value());
  EXPECT_FALSE(cut);
}

TASK_TEST_P(TimeLimitTest, WhatTakesLongerIsCancelled) {
  IoResult result;
  bool cut = false;
  co_await sleep_within(UINT64_MAX, 1'000'000, result, cut);
  EXPECT_TRUE(cut);
  CO_ASSERT(!result);
  EXPECT_EQ(result.error(), Errno(ECANCELED));
}

TASK_TEST_P(TimeLimitTest, TheEndOfTheCallerIsTheEndOfTheWork) {
  IoResult result;
  bool cut = true;
  Scope scope(reactor());
  scope.spawn("caller", sleep_within(UINT64_MAX, UINT64_MAX, result, cut));
  scope.cancel();
  co_await scope.join();
  EXPECT_FALSE(cut);
  CO_ASSERT(!result);
  EXPECT_EQ(result.error(), Errno(ECANCELED));
}

}  // namespace
}  // namespace blockexport::aio
