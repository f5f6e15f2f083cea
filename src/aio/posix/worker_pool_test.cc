#include "aio/posix/worker_pool.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <deque>
#include <latch>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/sim/simulation.h"

namespace blockexport::aio::posix {
namespace {

constexpr int kWaitMs = 20'000;

struct Call final : Operation {
  explicit Call(Reactor& on) : Operation(on, OperationKind::kCall) {}
};

class WorkerPoolTest : public ::testing::Test {
 protected:
  Operation& call(std::int64_t (*function)(void*), void* argument) {
    Operation& operation = operations_.emplace_back(*reactor_);
    operation.function = function;
    operation.argument = argument;
    return operation;
  }

  // Takes `count` completions as a reactor does; false when they do not arrive in time.
  bool take(WorkerPool& pool, std::size_t count, std::vector<std::int64_t>* results = nullptr) {
    OperationList completed;
    for (std::size_t taken = 0; taken < count;) {
      pollfd waiting{wake_.fd(), POLLIN, 0};
      if (poll(&waiting, 1, kWaitMs) != 1) return false;
      wake_.clear();
      pool.take_completed(completed);
      for (; !completed.empty(); ++taken) {
        std::int64_t result = completed.pop_front().result;
        if (results != nullptr) results->push_back(result);
      }
    }
    return true;
  }

  Simulation simulation_;
  std::unique_ptr<Reactor> reactor_ = simulation_.make_reactor();
  WakeEvent wake_;
  std::deque<Call> operations_;
};

struct Threads {
  std::mutex mutex;
  std::set<std::thread::id> seen;
};

std::int64_t note_thread(void* threads) {
  auto& noted = *static_cast<Threads*>(threads);
  std::lock_guard lock(noted.mutex);
  noted.seen.insert(std::this_thread::get_id());
  return 7;
}

TEST_F(WorkerPoolTest, NeverMoreThreadsThanAllowedAndEveryOperationOnce) {
  constexpr std::size_t kOperations = 200;
  Threads threads;
  WorkerPool pool(3, wake_);
  for (std::size_t i = 0; i < kOperations; ++i) pool.submit(call(note_thread, &threads));
  std::vector<std::int64_t> results;
  ASSERT_TRUE(take(pool, kOperations, &results));
  EXPECT_EQ(results, std::vector<std::int64_t>(kOperations, 7));
  EXPECT_LE(threads.seen.size(), 3u);
  EXPECT_FALSE(threads.seen.contains(std::this_thread::get_id()));
}

std::int64_t meet(void* latch) {
  static_cast<std::latch*>(latch)->arrive_and_wait();
  return 0;
}

TEST_F(WorkerPoolTest, BlockedOperationsDoNotKeepOthersFromAThread) {
  constexpr int kTogether = 4;
  std::latch all(kTogether);
  WorkerPool pool(kTogether, wake_);
  for (int i = 0; i < kTogether; ++i) pool.submit(call(meet, &all));
  EXPECT_TRUE(take(pool, kTogether));
}

TEST_F(WorkerPoolTest, WithoutThreadsTheCallerDoesTheWork) {
  Threads threads;
  WorkerPool pool(0, wake_);
  pool.submit(call(note_thread, &threads));
  EXPECT_TRUE(take(pool, 1));
  EXPECT_EQ(threads.seen, std::set{std::this_thread::get_id()});
}

std::int64_t signals_are_blocked(void*) {
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  return sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGUSR1) == 1 ? 1 : 0;
}

TEST_F(WorkerPoolTest, SignalsAreLeftToTheOtherThreads) {
  WorkerPool pool(1, wake_);
  pool.submit(call(signals_are_blocked, nullptr));
  std::vector<std::int64_t> results;
  ASSERT_TRUE(take(pool, 1, &results));
  EXPECT_EQ(results, std::vector<std::int64_t>{1});
  sigset_t ours;
  pthread_sigmask(SIG_SETMASK, nullptr, &ours);
  EXPECT_EQ(sigismember(&ours, SIGTERM), 0);
}

}  // namespace
}  // namespace blockexport::aio::posix
