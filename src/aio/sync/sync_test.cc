#include "aio/sync/sync.h"

#include <gtest/gtest.h>

#include <vector>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

class SyncTest : public testing::ForEachBackend {
 protected:
  // Runs the loop until no task is ready.
  void settle() {
    for (int i = 0; i < 20; ++i) reactor().run_once(0);
  }
};
BLOCKEXPORT_FOR_EACH_BACKEND(SyncTest);

Task<void> acquire(Semaphore& semaphore, std::uint64_t units, int name, std::vector<int>& order) {
  IoResult taken = co_await semaphore.acquire(units);
  order.push_back(taken ? name : -name);
}

TEST_P(SyncTest, SemaphoreServesInOrderAndDoesNotStarveTheLargeOne) {
  Semaphore semaphore(reactor(), 2);
  Scope scope(reactor());
  std::vector<int> order;
  ASSERT_TRUE(semaphore.try_acquire(2));
  scope.spawn("large", acquire(semaphore, 2, 1, order));
  scope.spawn("small", acquire(semaphore, 1, 2, order));
  semaphore.release(1);
  settle();
  EXPECT_TRUE(order.empty());
  EXPECT_FALSE(semaphore.try_acquire(1));
  semaphore.release(2);
  run(scope.join());
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST_P(SyncTest, CancellingTheFirstWaiterLetsTheNextThrough) {
  Semaphore semaphore(reactor(), 1);
  Scope large(reactor());
  Scope small(reactor());
  std::vector<int> order;
  large.spawn("large", acquire(semaphore, 2, 1, order));
  small.spawn("small", acquire(semaphore, 1, 2, order));
  settle();
  EXPECT_TRUE(order.empty());
  large.cancel();
  run(large.join());
  run(small.join());
  EXPECT_EQ(order, (std::vector<int>{-1, 2}));
  EXPECT_EQ(semaphore.available(), 0u);
}

TEST_P(SyncTest, UnitsGivenBeforeACancellationAreKept) {
  Semaphore semaphore(reactor(), 0);
  Scope scope(reactor());
  std::vector<int> order;
  scope.spawn("taker", acquire(semaphore, 1, 1, order));
  semaphore.release(1);
  scope.cancel();
  run(scope.join());
  EXPECT_EQ(order, (std::vector<int>{1}));
  EXPECT_EQ(semaphore.available(), 0u);
}

Task<void> wait_for(Event& event, int& woken) {
  if (co_await event.wait()) ++woken;
}

TEST_P(SyncTest, EventWakesAllAndStaysSet) {
  Event event(reactor());
  Scope scope(reactor());
  int woken = 0;
  for (int i = 0; i < 3; ++i) scope.spawn("waiter", wait_for(event, woken));
  settle();
  EXPECT_EQ(woken, 0);
  event.set();
  EXPECT_EQ(woken, 0) << "never inside the call that wakes";
  run(scope.join());
  EXPECT_EQ(woken, 3);
  run(wait_for(event, woken));
  EXPECT_EQ(woken, 4);
}

Task<void> hold(Mutex& mutex, int turns, int& inside, int& most) {
  auto guard = co_await mutex.lock();
  if (!guard) co_return;
  most = std::max(most, ++inside);
  for (int i = 0; i < turns; ++i) co_await next_turn();
  --inside;
}

TEST_P(SyncTest, MutexHasOneHolder) {
  Mutex mutex(reactor());
  Scope scope(reactor());
  int inside = 0;
  int most = 0;
  for (int i = 0; i < 5; ++i) scope.spawn("holder", hold(mutex, 3, inside, most));
  EXPECT_FALSE(mutex.try_lock().has_value());
  run(scope.join());
  EXPECT_EQ(most, 1);
  EXPECT_TRUE(mutex.try_lock().has_value());
}

}  // namespace
}  // namespace blockexport::aio
