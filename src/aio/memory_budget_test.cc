#include "aio/memory_budget.h"

#include <gtest/gtest.h>

#include <vector>

#include "aio/scope.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kMegabyte = 1u << 20;
constexpr std::uint64_t kAllowance = MemoryBudget::kConnectionAllowanceBytes;

class MemoryBudgetTest : public ::testing::Test {
 protected:
  void settle() { simulation.run_until_idle(*reactor); }

  Simulation simulation;
  std::unique_ptr<Reactor> reactor = Reactor::create(simulation);
  Scope scope{*reactor};
  std::vector<int> order;
};

Task<void> take(MemoryBudget& budget, std::uint64_t bytes, int name, std::vector<int>& order) {
  IoResult taken = co_await budget.take(bytes);
  order.push_back(taken ? name : -taken.error().value());
}

TEST_F(MemoryBudgetTest, AConnectionHasItsLimit) {
  MemoryBudget process(*reactor, 100 * kMegabyte);
  MemoryBudget connection(process, 10 * kMegabyte);
  EXPECT_TRUE(connection.try_take(10 * kMegabyte));
  EXPECT_FALSE(connection.try_take(1));
  EXPECT_EQ(process.used_bytes(), 10 * kMegabyte - kAllowance);
  connection.give_back(10 * kMegabyte);
  EXPECT_EQ(process.used_bytes(), 0u);
}

TEST_F(MemoryBudgetTest, SmallRequestsAreServedWhenOthersHaveUsedTheProcessShare) {
  MemoryBudget process(*reactor, 10 * kMegabyte);
  MemoryBudget greedy(process, 100 * kMegabyte);
  MemoryBudget modest(process, 100 * kMegabyte);
  ASSERT_TRUE(greedy.try_take(10 * kMegabyte + kAllowance));
  EXPECT_FALSE(modest.try_take(kAllowance + 1));
  EXPECT_TRUE(modest.try_take(kAllowance));
  greedy.give_back(10 * kMegabyte + kAllowance);
  modest.give_back(kAllowance);
}

TEST_F(MemoryBudgetTest, ALargeTakerIsNotOvertaken) {
  MemoryBudget process(*reactor, 100 * kMegabyte);
  MemoryBudget connection(process, 10 * kMegabyte);
  ASSERT_TRUE(connection.try_take(8 * kMegabyte));
  scope.spawn("large", take(connection, 10 * kMegabyte, 1, order));
  scope.spawn("small", take(connection, kMegabyte, 2, order));
  settle();
  EXPECT_FALSE(connection.try_take(kMegabyte));
  EXPECT_TRUE(order.empty());
  connection.give_back(8 * kMegabyte);
  settle();
  EXPECT_EQ(order, (std::vector<int>{1}));
  connection.give_back(10 * kMegabyte);
  settle();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  connection.give_back(kMegabyte);
}

TEST_F(MemoryBudgetTest, ConnectionsWaitForTheProcessInOrder) {
  MemoryBudget process(*reactor, 10 * kMegabyte);
  MemoryBudget first(process);
  MemoryBudget second(process);
  MemoryBudget third(process);
  ASSERT_TRUE(first.try_take(8 * kMegabyte));
  scope.spawn("large", take(second, 9 * kMegabyte, 1, order));
  settle();
  EXPECT_FALSE(third.try_take(3 * kMegabyte)) << "it would fit, but another waits";
  scope.spawn("small", take(third, 3 * kMegabyte, 2, order));
  settle();
  EXPECT_TRUE(order.empty());
  first.give_back(8 * kMegabyte);
  settle();
  EXPECT_EQ(order, (std::vector<int>{1}));
  second.give_back(9 * kMegabyte);
  settle();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  third.give_back(3 * kMegabyte);
}

TEST_F(MemoryBudgetTest, GivingBackWithinTheAllowanceLetsAWaiterGoOn) {
  MemoryBudget process(*reactor, kMegabyte);
  MemoryBudget greedy(process);
  MemoryBudget modest(process);
  ASSERT_TRUE(greedy.try_take(kMegabyte + kAllowance));
  ASSERT_TRUE(modest.try_take(kAllowance));
  scope.spawn("waiter", take(modest, kAllowance, 1, order));
  settle();
  EXPECT_TRUE(order.empty());
  modest.give_back(kAllowance);
  settle();
  EXPECT_EQ(order, (std::vector<int>{1}));
  modest.give_back(kAllowance);
  greedy.give_back(kMegabyte + kAllowance);
}

TEST_F(MemoryBudgetTest, ACancelledTakerTakesNothingAndLetsTheNextThrough) {
  MemoryBudget process(*reactor, 10 * kMegabyte);
  Scope other(*reactor);
  ASSERT_TRUE(process.try_take(9 * kMegabyte));
  scope.spawn("large", take(process, 5 * kMegabyte, 1, order));
  other.spawn("small", take(process, kMegabyte, 2, order));
  settle();
  EXPECT_TRUE(order.empty());
  scope.cancel();
  settle();
  EXPECT_EQ(order, (std::vector<int>{-ECANCELED, 2}));
  EXPECT_EQ(process.used_bytes(), 10 * kMegabyte);
  process.give_back(10 * kMegabyte);
}

TEST_F(MemoryBudgetTest, MoreThanTheLimitIsRefused) {
  MemoryBudget process(*reactor, 10 * kMegabyte);
  MemoryBudget connection(process, 100 * kMegabyte);
  scope.spawn("too large", take(connection, 101 * kMegabyte, 1, order));
  scope.spawn("too large for the process", take(connection, 50 * kMegabyte, 2, order));
  scope.spawn("absurd", take(connection, UINT64_MAX, 3, order));
  settle();
  EXPECT_EQ(order, (std::vector<int>{-ENOMEM, -ENOMEM, -ENOMEM}));
  EXPECT_EQ(connection.used_bytes(), 0u);
}

TEST_F(MemoryBudgetTest, WhatAStartedRequestNeedsIsTakenOverTheLimit) {
  MemoryBudget process(*reactor, kMegabyte);
  ASSERT_TRUE(process.try_take(kMegabyte));
  process.take_over_limit(kMegabyte);
  EXPECT_EQ(process.used_bytes(), 2 * kMegabyte);
  process.give_back(kMegabyte);
  EXPECT_FALSE(process.try_take(1));
  process.give_back(kMegabyte);
  EXPECT_TRUE(process.try_take(1));
  process.give_back(1);
}

}  // namespace
}  // namespace blockexport::aio
