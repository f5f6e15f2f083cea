// LossReport with calls on several reactors, each on a thread of its own, and a kernel that tells of a loss once.
#include "drivers/file/loss_report.h"

#include <array>
#include <atomic>
#include <random>
#include <utility>

#include "aio/current.h"
#include "aio/scope.h"
#include "aio/testing/threads.h"

namespace blockexport::drivers {
namespace {

using aio::Task;
using Promise = LossReport::Promise;

constexpr std::size_t kWriters = 6;
constexpr std::uint64_t kRounds = 20;
constexpr std::uint64_t kDisks = 60;

// An open file. Each writer has a place of its own, written ever again with higher numbers.
class Disk {
 public:
  explicit Disk(std::uint64_t fails_at) : fails_at_(fails_at) {}

  LossReport losses;

  void copy(std::size_t writer, std::uint64_t number) {
    std::lock_guard guard(mutex_);
    cached_[writer] = number;
    dirty_[writer] = true;
    if (++copies_ != fails_at_) return;
    dirty_ = {};
    unreported_ = true;
  }
  // What a sync, or a write that syncs its own place, does last.
  IoResult write_back(std::span<const std::size_t> writers) {
    std::lock_guard guard(mutex_);
    if (std::exchange(unreported_, false)) return fail(EIO);
    for (std::size_t writer : writers) {
      if (std::exchange(dirty_[writer], false)) durable_[writer] = cached_[writer];
    }
    return {};
  }
  std::uint64_t durable(std::size_t writer) {
    std::lock_guard guard(mutex_);
    return durable_[writer];
  }

 private:
  const std::uint64_t fails_at_;
  std::mutex mutex_;
  std::uint64_t copies_ = 0;
  std::array<std::uint64_t, kWriters> cached_ = {};
  std::array<std::uint64_t, kWriters> durable_ = {};
  std::array<bool, kWriters> dirty_ = {};
  bool unreported_ = false;
};

constexpr std::array<std::size_t, kWriters> kAll = {0, 1, 2, 3, 4, 5};

// What calls the kernel: a write that syncs its own place, or a sync.
Task<IoResult> call_disk(aio::Reactor& reactor, Disk& disk, std::size_t writer, std::uint64_t number, Promise promise,
                         std::uint64_t takes_ns) {
  std::span<const std::size_t> covered = kAll;
  if (promise == Promise::kOwnData) {
    disk.copy(writer, number);
    covered = covered.subspan(writer, 1);
  }
  (void)co_await reactor.sleep_until(reactor.now_ns() + takes_ns);
  IoResult result = disk.write_back(covered);
  // The answer of one may be on its way while the next looks.
  (void)co_await reactor.sleep_until(reactor.now_ns() + takes_ns);
  co_return result;
}

bool is_loss(Errno) {
  return true;
}

// One write and the call that is to make it durable; whether it is then promised.
Task<IoResult> write_once(aio::Reactor& reactor, Disk& disk, std::size_t writer, std::uint64_t number, Promise promise,
                          std::uint64_t takes_ns) {
  if (promise == Promise::kAllBefore) disk.copy(writer, number);
  Task<IoResult> calling = call_disk(reactor, disk, writer, number, promise, takes_ns);
  co_return co_await disk.losses.run(reactor, promise, std::move(calling), is_loss);
}

Task<void> write_many(Disk& disk, std::size_t writer, std::uint64_t seed, std::atomic<int>& failed) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  std::mt19937_64 random(seed);
  for (std::uint64_t number = 1; number <= kRounds; ++number) {
    const Promise promise = random() % 2 == 0 ? Promise::kOwnData : Promise::kAllBefore;
    if (co_await write_once(reactor, disk, writer, number, promise, random() % 100'000)) {
      EXPECT_EQ(disk.durable(writer), number);
    } else {
      ++failed;
    }
  }
}

Task<void> write_on(aio::DataReactor& place, Disk& disk, std::size_t writer, std::uint64_t seed,
                    std::atomic<int>& failed) {
  return aio::run_on(place, "writer", write_many(disk, writer, seed, failed));
}

class LossReportTest : public aio::testing::WithThreads {};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(LossReportTest);

TEST_P(LossReportTest, NobodyIsToldOfSuccessWhoseDataAreLostWhereverItRuns) {
  auto first = start_thread("first");
  auto second = start_thread("second");
  std::array<aio::DataReactor*, 3> places = {&here(), &first->data_reactor(), &second->data_reactor()};
  for (std::uint64_t seed = 1; seed <= kDisks && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Disk disk(10 + seed % 50);
    std::atomic<int> failed = 0;
    run([](std::span<aio::DataReactor*> on, Disk& shared, std::uint64_t number,
           std::atomic<int>& failures) -> Task<void> {
      aio::Scope writers(co_await aio::current_reactor());
      for (std::size_t i = 0; i < kWriters; ++i) {
        writers.spawn("writer", write_on(*on[i % on.size()], shared, i, number * kWriters + i, failures));
      }
      co_await writers.join();
    }(places, disk, seed, failed));
    EXPECT_GT(failed, 0);
  }
}

// What is under way, in an order that the test decides.
class LossReportOrderTest : public aio::testing::WithThreads {
 protected:
  void end(LossReport::Call& call, IoResult result = {}) { losses_.end(reactor(), call, result, !result.has_value()); }
  LossReport losses_;
};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(LossReportOrderTest);

TEST_P(LossReportOrderTest, WhoIsAloneWaitsForNobody) {
  for (Promise promise : {Promise::kOwnData, Promise::kAllBefore}) {
    LossReport::Call call(reactor(), promise);
    losses_.begin(call);
    EXPECT_FALSE(call.settled.is_set());
    end(call);
    EXPECT_TRUE(call.settled.is_set());
    EXPECT_EQ(call.result, IoResult());
  }
}

TEST_P(LossReportOrderTest, SuccessWaitsForThoseThatWereUnderWayAndForNoOthers) {
  LossReport::Call write(reactor(), Promise::kOwnData);
  LossReport::Call sync(reactor(), Promise::kAllBefore);
  LossReport::Call later(reactor(), Promise::kOwnData);
  losses_.begin(write);
  losses_.begin(sync);
  end(sync);
  losses_.begin(later);
  EXPECT_FALSE(sync.settled.is_set());
  end(write);
  EXPECT_TRUE(sync.settled.is_set());
  EXPECT_EQ(sync.result, IoResult());
  EXPECT_FALSE(write.settled.is_set()) << "the later one was under way when it ended";
  end(later);
  EXPECT_TRUE(write.settled.is_set());
  EXPECT_TRUE(later.settled.is_set());
}

TEST_P(LossReportOrderTest, EitherIsToldOfWhatTheOtherWasTold) {
  for (bool sync_is_told : {false, true}) {
    LossReport losses;
    LossReport::Call write(reactor(), Promise::kOwnData);
    LossReport::Call sync(reactor(), Promise::kAllBefore);
    losses.begin(write);
    losses.begin(sync);
    LossReport::Call& told = sync_is_told ? sync : write;
    LossReport::Call& other = sync_is_told ? write : sync;
    losses.end(reactor(), other, {}, false);
    EXPECT_FALSE(other.settled.is_set());
    losses.end(reactor(), told, fail(EIO), true);
    EXPECT_TRUE(told.settled.is_set());
    EXPECT_TRUE(other.settled.is_set());
    EXPECT_EQ(told.result, IoResult(fail(EIO)));
    EXPECT_EQ(other.result, IoResult(fail(EIO)));
    EXPECT_EQ(losses.known(), IoResult(fail(EIO)));
  }
}

TEST_P(LossReportOrderTest, ALossBeforeAWriteIsNotItsOwnButEverySyncs) {
  LossReport::Call lost(reactor(), Promise::kAllBefore);
  losses_.begin(lost);
  end(lost, fail(EIO));
  LossReport::Call write(reactor(), Promise::kOwnData);
  losses_.begin(write);
  end(write);
  EXPECT_EQ(write.result, IoResult());
  LossReport::Call sync(reactor(), Promise::kAllBefore);
  losses_.begin(sync);
  end(sync);
  EXPECT_EQ(sync.result, IoResult(fail(EIO)));
}

TEST_P(LossReportOrderTest, WhatWasRefusedIsNoLoss) {
  LossReport::Call write(reactor(), Promise::kOwnData);
  LossReport::Call sync(reactor(), Promise::kAllBefore);
  losses_.begin(write);
  losses_.begin(sync);
  losses_.end(reactor(), write, fail(ENOSPC), false);
  end(sync);
  EXPECT_EQ(write.result, IoResult(fail(ENOSPC)));
  EXPECT_EQ(sync.result, IoResult());
}

}  // namespace
}  // namespace blockexport::drivers
