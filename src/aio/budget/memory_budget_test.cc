#include "aio/budget/memory_budget.h"

#include <gtest/gtest.h>

#include <atomic>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/threads.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kAllowance = MemoryBudget::kConnectionAllowanceBytes;

class MemoryBudgetTest : public ::testing::Test {
 protected:
  void idle() { simulation_.run_until_idle(*reactor_); }

  Simulation simulation_;
  std::unique_ptr<Reactor> reactor_ = simulation_.make_reactor();
  ProcessBudget process_;
};

Task<void> take_and_note(MemoryBudget& budget, std::uint64_t bytes, int name, std::vector<int>& order) {
  IoResult taken = co_await budget.take(bytes);
  order.push_back(taken ? name : -name);
}

TEST_F(MemoryBudgetTest, GivesUpToItsLimit) {
  MemoryBudget budget(*reactor_, process_, 100);
  EXPECT_TRUE(budget.try_take(60));
  EXPECT_FALSE(budget.try_take(41));
  EXPECT_TRUE(budget.try_take(40));
  budget.give_back(100);
  EXPECT_EQ(budget.used_bytes(), 0u);
}

TEST_F(MemoryBudgetTest, TakingOverTheLimitIsCounted) {
  MemoryBudget budget(*reactor_, process_, 100);
  budget.take_over_limit(150);
  EXPECT_EQ(budget.used_bytes(), 150u);
  budget.give_back(100);
  EXPECT_FALSE(budget.try_take(51));
  EXPECT_TRUE(budget.try_take(50));
  budget.give_back(100);
}

TEST_F(MemoryBudgetTest, WaitersAreServedInOrder) {
  MemoryBudget budget(*reactor_, process_, 100);
  ASSERT_TRUE(budget.try_take(100));
  std::vector<int> order;
  Scope scope(*reactor_);
  for (int name : {1, 2, 3}) scope.spawn("taker", take_and_note(budget, 50, name, order));
  idle();
  EXPECT_TRUE(order.empty());
  budget.give_back(100);
  idle();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  budget.give_back(50);
  idle();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
  budget.give_back(100);
}

TEST_F(MemoryBudgetTest, ACancelledWaiterTakesNothing) {
  MemoryBudget budget(*reactor_, process_, 100);
  ASSERT_TRUE(budget.try_take(100));
  std::vector<int> order;
  Scope scope(*reactor_);
  scope.spawn("taker", take_and_note(budget, 50, 1, order));
  scope.cancel();
  idle();
  EXPECT_EQ(order, (std::vector<int>{-1}));
  EXPECT_EQ(budget.used_bytes(), 100u);
  budget.give_back(100);
}

TEST_F(MemoryBudgetTest, OnlyWhatIsBeyondTheAllowanceCountsForTheProcess) {
  ProcessBudget process(1000);
  MemoryBudget connection(*reactor_, process);
  ASSERT_TRUE(connection.try_take(kAllowance));
  EXPECT_EQ(process.used_bytes(), 0u);
  EXPECT_TRUE(connection.try_take(1000));
  EXPECT_EQ(process.used_bytes(), 1000u);
  EXPECT_FALSE(connection.try_take(1));
  connection.give_back(kAllowance + 1000);
  EXPECT_EQ(process.used_bytes(), 0u);
}

TEST_F(MemoryBudgetTest, AnAllowanceIsThereWhenOthersHaveAllOfTheProcess) {
  ProcessBudget process(1000);
  MemoryBudget greedy(*reactor_, process);
  MemoryBudget modest(*reactor_, process);
  ASSERT_TRUE(greedy.try_take(kAllowance + 1000));
  EXPECT_TRUE(modest.try_take(kAllowance));
  modest.give_back(kAllowance);
  greedy.give_back(kAllowance + 1000);
}

TEST_F(MemoryBudgetTest, WhoWaitsForTheProcessIsServedWhenAnotherConnectionGivesBack) {
  ProcessBudget process(1000);
  MemoryBudget greedy(*reactor_, process);
  MemoryBudget other(*reactor_, process);
  ASSERT_TRUE(greedy.try_take(kAllowance + 1000));
  std::vector<int> order;
  Scope scope(*reactor_);
  scope.spawn("taker", take_and_note(other, kAllowance + 1, 1, order));
  idle();
  EXPECT_TRUE(order.empty());
  greedy.give_back(kAllowance + 1000);
  idle();
  EXPECT_EQ(order, (std::vector<int>{1}));
  other.give_back(kAllowance + 1);
}

TEST_F(MemoryBudgetTest, WhoWaitsForTheProcessIsServedWhileOthersKeepTheirs) {
  ProcessBudget process(1000);
  MemoryBudget keeps(*reactor_, process);
  MemoryBudget gives(*reactor_, process);
  MemoryBudget waits(*reactor_, process);
  ASSERT_TRUE(keeps.try_take(kAllowance + 600));
  ASSERT_TRUE(gives.try_take(kAllowance + 400));
  std::vector<int> order;
  Scope scope(*reactor_);
  scope.spawn("taker", take_and_note(waits, kAllowance + 300, 1, order));
  idle();
  EXPECT_TRUE(order.empty());
  gives.give_back(kAllowance + 400);
  idle();
  EXPECT_EQ(order, (std::vector<int>{1}));
  waits.give_back(kAllowance + 300);
  keeps.give_back(kAllowance + 600);
}

// A client that never reads its replies keeps the process's budget used up.
TEST_F(MemoryBudgetTest, WhoWaitsForTheProcessIsServedFromItsOwnAllowanceOnceThatIsFree) {
  ProcessBudget process(1000);
  MemoryBudget greedy(*reactor_, process);
  MemoryBudget modest(*reactor_, process);
  ASSERT_TRUE(greedy.try_take(kAllowance + 1000));
  ASSERT_TRUE(modest.try_take(kAllowance));
  std::vector<int> order;
  Scope scope(*reactor_);
  scope.spawn("taker", take_and_note(modest, kAllowance / 2, 1, order));
  idle();
  EXPECT_TRUE(order.empty());
  modest.give_back(kAllowance);
  idle();
  EXPECT_EQ(order, (std::vector<int>{1}));
  greedy.give_back(kAllowance + 1000);
  idle();
  modest.give_back(kAllowance / 2);
}

// The same with another connection ahead of it in the queue, for which the process's budget is too small.
TEST_F(MemoryBudgetTest, WhoWaitsBehindAnotherForTheProcessIsServedFromItsOwnAllowance) {
  ProcessBudget process(1000);
  MemoryBudget greedy(*reactor_, process);
  MemoryBudget first(*reactor_, process);
  MemoryBudget modest(*reactor_, process);
  ASSERT_TRUE(greedy.try_take(kAllowance + 1000));
  ASSERT_TRUE(modest.try_take(kAllowance));
  std::vector<int> order;
  Scope scope(*reactor_);
  scope.spawn("first", take_and_note(first, kAllowance + 1, 1, order));
  scope.spawn("modest", take_and_note(modest, kAllowance / 2, 2, order));
  idle();
  modest.give_back(kAllowance);
  idle();
  EXPECT_EQ(order, (std::vector<int>{2}));
  greedy.give_back(kAllowance + 1000);
  idle();
  EXPECT_EQ(order, (std::vector<int>{2, 1}));
  first.give_back(kAllowance + 1);
  modest.give_back(kAllowance / 2);
}

Task<void> take_with_patience(MemoryBudget& budget, std::uint64_t bytes, IoResult& result) {
  result = co_await budget.take(bytes, 1'000'000);
}

TEST_F(MemoryBudgetTest, WhoIsPatientForAWhileGivesUpWhenTheProcessHasNone) {
  ProcessBudget process(1000);
  MemoryBudget greedy(*reactor_, process);
  MemoryBudget newcomer(*reactor_, process);
  ASSERT_TRUE(greedy.try_take(kAllowance + 1000));
  IoResult result;
  Scope scope(*reactor_);
  scope.spawn("taker", take_with_patience(newcomer, kAllowance + 1, result));
  const std::uint64_t began_ns = reactor_->now_ns();
  EXPECT_TRUE(process.is_wanted(began_ns));
  idle();
  EXPECT_EQ(result, IoResult(fail(ETIMEDOUT)));
  const std::uint64_t gave_up_ns = reactor_->now_ns();
  EXPECT_GE(gave_up_ns - began_ns, 1'000'000u);
  EXPECT_LT(gave_up_ns - began_ns, 2'000'000u);
  EXPECT_EQ(newcomer.used_bytes(), 0u);
  EXPECT_TRUE(process.is_wanted(gave_up_ns + ProcessBudget::kWantedNs / 2));
  EXPECT_FALSE(process.is_wanted(gave_up_ns + ProcessBudget::kWantedNs));
  greedy.give_back(kAllowance + 1000);
}

// Waiting for the connection's own memory has no deadline, since its own requests give it back.
TEST_F(MemoryBudgetTest, NobodyGivesUpWaitingForItsOwnMemory) {
  MemoryBudget budget(*reactor_, process_, 100);
  ASSERT_TRUE(budget.try_take(100));
  IoResult result = fail(EINVAL);
  Scope scope(*reactor_);
  scope.spawn("taker", take_with_patience(budget, 50, result));
  idle();
  EXPECT_EQ(scope.size(), 1u);
  budget.give_back(100);
  idle();
  EXPECT_TRUE(result.has_value());
  budget.give_back(50);
}

class MemoryAcrossThreadsTest : public testing::WithThreads {};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(MemoryAcrossThreadsTest);

// Takes memory and gives it back; checks that all takers together never exceed the limit.
Task<void> use_memory(ProcessBudget& process, std::atomic<std::uint64_t>& used, std::uint64_t limit, int times) {
  Reactor& reactor = co_await current_reactor();
  MemoryBudget budget(reactor, process);
  const std::uint64_t bytes = MemoryBudget::kConnectionAllowanceBytes + limit / 2 + 1;
  for (int i = 0; i < times; ++i) {
    EXPECT_TRUE(co_await budget.take(bytes));
    EXPECT_LE(used += limit / 2 + 1, limit);
    co_await next_turn();
    used -= limit / 2 + 1;
    budget.give_back(bytes);
  }
}

TEST_P(MemoryAcrossThreadsTest, ConnectionsOfTwoReactorsWaitForTheProcesssMemory) {
  constexpr std::uint64_t kLimit = 1000;
  auto thread = start_thread("other");
  ProcessBudget process(kLimit);
  std::atomic<std::uint64_t> used = 0;
  Scope scope(reactor());
  for (int i = 0; i < 3; ++i) {
    scope.spawn("here", use_memory(process, used, kLimit, 300));
    scope.spawn("there", run_on(thread->data_reactor(), "there", use_memory(process, used, kLimit, 300)));
  }
  run(scope.join());
  EXPECT_EQ(process.used_bytes(), 0u);
}

constexpr int kMeetings = 2000;

// Gives all memory back while the other thread is about to wait for it.
Task<void> give_back_when_asked(ProcessBudget& process, testing::Meeting& taken, testing::Meeting& asked) {
  MemoryBudget budget(co_await current_reactor(), process);
  for (int number = 1; number <= kMeetings; ++number) {
    EXPECT_TRUE(budget.try_take(kAllowance + 1000));
    taken.begin(number);
    asked.await_begin(number);
    budget.give_back(kAllowance + 1000);
    asked.await_end(number);
  }
}

Task<void> ask(ProcessBudget& process, testing::Meeting& taken, testing::Meeting& asked) {
  MemoryBudget budget(co_await current_reactor(), process);
  for (int number = 1; number <= kMeetings; ++number) {
    taken.await_begin(number);
    asked.begin(number);
    EXPECT_TRUE(co_await budget.take(kAllowance + 1000));
    budget.give_back(kAllowance + 1000);
    asked.end(number);
  }
}

TEST_P(MemoryAcrossThreadsTest, WhatIsGivenBackWhileSomebodyBeginsToWaitIsNotMissed) {
  auto thread = start_thread("other");
  ProcessBudget process(1000);
  testing::Meeting taken;
  testing::Meeting asked;
  Scope scope(reactor());
  scope.spawn("there", run_on(thread->data_reactor(), "there", give_back_when_asked(process, taken, asked)));
  scope.spawn("here", ask(process, taken, asked));
  run(scope.join());
}

}  // namespace
}  // namespace blockexport::aio
