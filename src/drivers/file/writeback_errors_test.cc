// WritebackErrors with calls on several reactors, each on its own thread, and a kernel that reports an error once.
#include "drivers/file/writeback_errors.h"

#include <array>
#include <atomic>
#include <random>
#include <utility>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/threads.h"

namespace blockexport::drivers {
namespace {

using aio::Task;
using Promise = WritebackErrors::Promise;

constexpr std::size_t kWriters = 6;
constexpr std::uint64_t kRounds = 20;
constexpr std::uint64_t kDisks = 60;

// An open file. Each writer has a slot of its own, to which it writes ever higher numbers.
class Disk {
 public:
  explicit Disk(std::uint64_t fails_at) : fails_at_(fails_at) {}

  WritebackErrors errors;

  void copy(std::size_t writer, std::uint64_t number) {
    std::lock_guard guard(mutex_);
    cached_[writer] = number;
    dirty_[writer] = true;
    if (++copies_ != fails_at_) return;
    dirty_ = {};
    unreported_ = true;
  }
  // The last step of a sync, or of a write that syncs its own slot.
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

// A call to the kernel: a write that syncs its own slot, or a sync.
Task<IoResult> call_disk(aio::Reactor& reactor, Disk& disk, std::size_t writer, std::uint64_t number, Promise promise,
                         std::uint64_t takes_ns) {
  std::span<const std::size_t> covered = kAll;
  if (promise == Promise::kOwnData) {
    disk.copy(writer, number);
    covered = covered.subspan(writer, 1);
  }
  (void)co_await reactor.sleep_until(reactor.now_ns() + takes_ns);
  IoResult result = disk.write_back(covered);
  // The result of one call may still be on its way when the next call checks for an error.
  (void)co_await reactor.sleep_until(reactor.now_ns() + takes_ns);
  co_return result;
}

bool is_writeback_error(Errno) {
  return true;
}

// One write and the call that makes it durable; returns whether durability was promised.
Task<IoResult> write_once(aio::Reactor& reactor, Disk& disk, std::size_t writer, std::uint64_t number, Promise promise,
                          std::uint64_t takes_ns) {
  if (promise == Promise::kAllBefore) disk.copy(writer, number);
  Task<IoResult> calling = call_disk(reactor, disk, writer, number, promise, takes_ns);
  co_return co_await disk.errors.run(reactor, promise, std::move(calling), is_writeback_error);
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

Task<void> write_on(aio::DataReactor& data_reactor, Disk& disk, std::size_t writer, std::uint64_t seed,
                    std::atomic<int>& failed) {
  return aio::run_on(data_reactor, "writer", write_many(disk, writer, seed, failed));
}

class WritebackErrorsTest : public aio::testing::WithThreads {};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(WritebackErrorsTest);

TEST_P(WritebackErrorsTest, NoCallSucceedsWhoseDataAreLostOnAnyReactor) {
  auto first = start_thread("first");
  auto second = start_thread("second");
  std::array<aio::DataReactor*, 3> data_reactors = {&here(), &first->data_reactor(), &second->data_reactor()};
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
    }(data_reactors, disk, seed, failed));
    EXPECT_GT(failed, 0);
  }
}

// Calls that overlap in an order which the test chooses.
class WritebackErrorsOrderTest : public aio::testing::WithThreads {
 protected:
  void end(WritebackErrors::Call& call, IoResult result = {}) {
    writeback_errors_.end(reactor(), call, result, !result.has_value());
  }
  WritebackErrors writeback_errors_;
};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(WritebackErrorsOrderTest);

TEST_P(WritebackErrorsOrderTest, ACallWithoutOverlapDoesNotWait) {
  for (Promise promise : {Promise::kOwnData, Promise::kAllBefore}) {
    WritebackErrors::Call call(reactor(), promise);
    writeback_errors_.begin(call);
    EXPECT_FALSE(call.settled.is_set());
    end(call);
    EXPECT_TRUE(call.settled.is_set());
    EXPECT_EQ(call.result, IoResult());
  }
}

TEST_P(WritebackErrorsOrderTest, SuccessWaitsForOverlappingCallsOnly) {
  WritebackErrors::Call write(reactor(), Promise::kOwnData);
  WritebackErrors::Call sync(reactor(), Promise::kAllBefore);
  WritebackErrors::Call later(reactor(), Promise::kOwnData);
  writeback_errors_.begin(write);
  writeback_errors_.begin(sync);
  end(sync);
  writeback_errors_.begin(later);
  EXPECT_FALSE(sync.settled.is_set());
  end(write);
  EXPECT_TRUE(sync.settled.is_set());
  EXPECT_EQ(sync.result, IoResult());
  EXPECT_FALSE(write.settled.is_set()) << "the later call overlaps with it";
  end(later);
  EXPECT_TRUE(write.settled.is_set());
  EXPECT_TRUE(later.settled.is_set());
}

TEST_P(WritebackErrorsOrderTest, AnErrorOfOneCallFailsTheOverlappingOne) {
  for (bool sync_gets_error : {false, true}) {
    WritebackErrors errors;
    WritebackErrors::Call write(reactor(), Promise::kOwnData);
    WritebackErrors::Call sync(reactor(), Promise::kAllBefore);
    errors.begin(write);
    errors.begin(sync);
    WritebackErrors::Call& failing = sync_gets_error ? sync : write;
    WritebackErrors::Call& other = sync_gets_error ? write : sync;
    errors.end(reactor(), other, {}, false);
    EXPECT_FALSE(other.settled.is_set());
    errors.end(reactor(), failing, fail(EIO), true);
    EXPECT_TRUE(failing.settled.is_set());
    EXPECT_TRUE(other.settled.is_set());
    EXPECT_EQ(failing.result, IoResult(fail(EIO)));
    EXPECT_EQ(other.result, IoResult(fail(EIO)));
    EXPECT_EQ(errors.first(), IoResult(fail(EIO)));
  }
}

TEST_P(WritebackErrorsOrderTest, AnEarlierErrorFailsEverySyncButNoLaterWrite) {
  WritebackErrors::Call lost(reactor(), Promise::kAllBefore);
  writeback_errors_.begin(lost);
  end(lost, fail(EIO));
  WritebackErrors::Call write(reactor(), Promise::kOwnData);
  writeback_errors_.begin(write);
  end(write);
  EXPECT_EQ(write.result, IoResult());
  WritebackErrors::Call sync(reactor(), Promise::kAllBefore);
  writeback_errors_.begin(sync);
  end(sync);
  EXPECT_EQ(sync.result, IoResult(fail(EIO)));
}

TEST_P(WritebackErrorsOrderTest, ARefusedWriteIsNotAWritebackError) {
  WritebackErrors::Call write(reactor(), Promise::kOwnData);
  WritebackErrors::Call sync(reactor(), Promise::kAllBefore);
  writeback_errors_.begin(write);
  writeback_errors_.begin(sync);
  writeback_errors_.end(reactor(), write, fail(ENOSPC), false);
  end(sync);
  EXPECT_EQ(write.result, IoResult(fail(ENOSPC)));
  EXPECT_EQ(sync.result, IoResult());
}

}  // namespace
}  // namespace blockexport::drivers
