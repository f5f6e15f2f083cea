// SyncGroup with members on several reactors, each on a thread of its own.
#include "aio/sync/sync_group.h"

#include <array>
#include <atomic>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/threads.h"

namespace blockexport::aio {
namespace {

constexpr std::size_t kWriters = 24;
constexpr std::uint64_t kRounds = 40;

// The last number that each writer has written, and the last one that is durable.
struct Disk {
  SyncGroup group;
  std::array<std::atomic<std::uint64_t>, kWriters> written = {};
  std::array<std::atomic<std::uint64_t>, kWriters> durable = {};
  std::atomic<int> running = 0;
  std::atomic<std::uint64_t> syncs = 0;
};

// Makes all writes durable that were done before it began; every seventh call fails and makes none durable.
Task<IoResult> sync_disk(Reactor& reactor, Disk& disk) {
  EXPECT_EQ(disk.running.fetch_add(1), 0) << "two at once";
  const bool fails = disk.syncs.fetch_add(1) % 7 == 6;
  std::array<std::uint64_t, kWriters> seen;
  for (std::size_t i = 0; i < kWriters; ++i) seen[i] = disk.written[i];
  (void)co_await reactor.sleep_until(reactor.now_ns() + 200'000);
  for (std::size_t i = 0; i < kWriters && !fails; ++i) disk.durable[i] = seen[i];
  --disk.running;
  co_return fails ? IoResult(fail(EIO)) : IoResult();
}

Task<void> write_and_sync(Disk& disk, std::size_t writer) {
  Reactor& reactor = co_await current_reactor();
  for (std::uint64_t number = 1; number <= kRounds; ++number) {
    disk.written[writer] = number;
    Task<IoResult> syncing = sync_disk(reactor, disk);
    const IoResult result = co_await disk.group.share(reactor, std::move(syncing));
    if (result) EXPECT_GE(disk.durable[writer].load(), number);
  }
}

Task<void> write_on(DataReactor& place, Disk& disk, std::size_t writer) {
  return run_on(place, "writer", write_and_sync(disk, writer));
}

class SyncGroupTest : public testing::WithThreads {};
BLOCKEXPORT_FOR_EACH_THREADED_BACKEND(SyncGroupTest);

TEST_P(SyncGroupTest, SuccessCoversTheMembersWritesOnAnyReactor) {
  auto first = start_thread("first");
  auto second = start_thread("second");
  std::array<DataReactor*, 3> places = {&here(), &first->data_reactor(), &second->data_reactor()};
  Disk disk;
  run([](std::span<DataReactor*> on, Disk& shared) -> Task<void> {
    Scope writers(co_await current_reactor());
    for (std::size_t i = 0; i < kWriters; ++i) writers.spawn("writer", write_on(*on[i % on.size()], shared, i));
    co_await writers.join();
  }(places, disk));
  EXPECT_EQ(disk.running, 0);
  // Writers do share syncs: with a sync for each, the number would be that of the writes.
  EXPECT_LT(disk.syncs, kWriters * kRounds / 4);
}

}  // namespace
}  // namespace blockexport::aio
