#include "block/range_lock.h"

#include <gtest/gtest.h>

#include "block/testing/reactor_test.h"

namespace blockexport::block {
namespace {

using Kind = RangeLock::Kind;

class RangeLockTest : public ReactorTest {
 protected:
  // True if a hold of `range` waits while `held` is held.
  bool waits(Range range, Kind kind, Range held, Kind held_kind) {
    RangeLock lock;
    auto holder = std::make_unique<RangeLock::Hold>(lock, reactor(), held, held_kind);
    RangeLock::Hold waiter(lock, reactor(), range, kind);
    bool is_in = false;
    start([](RangeLock::Hold& hold, bool& in) -> aio::Task<void> {
      co_await hold.acquire();
      in = true;
    }(waiter, is_in));
    for (int i = 0; i < 10; ++i) reactor().run_once(0);
    const bool waited = !is_in;
    holder.reset();
    until_idle();
    return waited;
  }
};

TEST_F(RangeLockTest, OneByteInCommonIsAConflict) {
  EXPECT_TRUE(waits({0, 10}, Kind::kExclusive, {9, 10}, Kind::kExclusive));
  EXPECT_TRUE(waits({9, 10}, Kind::kExclusive, {0, 10}, Kind::kExclusive));
  EXPECT_TRUE(waits({5, 1}, Kind::kExclusive, {0, 10}, Kind::kShared));
  EXPECT_TRUE(waits({0, 10}, Kind::kShared, {5, 1}, Kind::kExclusive));
}

TEST_F(RangeLockTest, AdjacentRangesDoNotConflict) {
  EXPECT_FALSE(waits({0, 10}, Kind::kExclusive, {10, 10}, Kind::kExclusive));
  EXPECT_FALSE(waits({10, 10}, Kind::kExclusive, {0, 10}, Kind::kExclusive));
}

TEST_F(RangeLockTest, SharedHoldsDoNotConflict) {
  EXPECT_FALSE(waits({0, 10}, Kind::kShared, {0, 10}, Kind::kShared));
}

// A later request does not overtake a waiter that it conflicts with.
TEST_F(RangeLockTest, IsServedInTheOrderOfArrival) {
  RangeLock lock;
  auto first = std::make_unique<RangeLock::Hold>(lock, reactor(), Range{0, 10}, Kind::kShared);
  std::vector<int> order;
  auto take = [](RangeLock& of, aio::Reactor& on, Range range, Kind kind, int name,
                 std::vector<int>& taken) -> aio::Task<void> {
    RangeLock::Hold hold(of, on, range, kind);
    co_await hold.acquire();
    taken.push_back(name);
  };
  start(take(lock, reactor(), {5, 10}, Kind::kExclusive, 1, order));
  start(take(lock, reactor(), {0, 20}, Kind::kShared, 2, order));
  start(take(lock, reactor(), {30, 10}, Kind::kExclusive, 3, order));
  for (int i = 0; i < 10; ++i) reactor().run_once(0);
  EXPECT_EQ(order, (std::vector<int>{3}));
  first.reset();
  until_idle();
  EXPECT_EQ(order, (std::vector<int>{3, 1, 2}));
}

}  // namespace
}  // namespace blockexport::block
