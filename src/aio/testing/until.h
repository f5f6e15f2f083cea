// until(): polls a condition with a deadline, for a test that has nothing to await. Thread: the test's.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>

#include "aio/reactor/reactor.h"
#include "aio/task/task.h"

namespace blockexport::aio::testing {

// Returns when `condition()` holds. The test fails when it does not within ten seconds of the reactor's clock.
template <class Condition>
Task<void> until(Reactor& reactor, Condition condition) {
  constexpr std::uint64_t kDeadlineNs = 10'000'000'000;
  constexpr std::uint64_t kPauseNs = 100'000;
  std::uint64_t deadline_ns = reactor.now_ns() + kDeadlineNs;
  while (!condition()) {
    if (reactor.now_ns() > deadline_ns) {
      ADD_FAILURE() << "the condition did not become true in time";
      co_return;
    }
    (void)co_await reactor.sleep_until(reactor.now_ns() + kPauseNs);
  }
}

}  // namespace blockexport::aio::testing
