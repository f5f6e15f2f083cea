#include "aio/sim/simulation.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <set>
#include <string>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

constexpr std::uint64_t kHourNs = 3'600'000'000'000;

Task<void> sleep(Reactor& reactor, std::uint64_t duration_ns) {
  (void)co_await reactor.sleep_until(reactor.now_ns() + duration_ns);
}

TEST(SimulationTest, TimeJumpsToTheNextTimer) {
  Simulation simulation;
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  std::uint64_t before = reactor->now_ns();
  testing::run(*reactor, sleep(*reactor, kHourNs));
  EXPECT_GE(reactor->now_ns() - before, kHourNs);
  EXPECT_LT(reactor->now_ns() - before, kHourNs + 1'000'000);
}

Task<void> write_text(Reactor& reactor, std::string path, std::string text, std::uint64_t offset, bool sync,
                      IoCount& result) {
  auto fd = co_await reactor.open(path.c_str(), O_RDWR | O_CREAT);
  if (!fd) co_return;
  iovec vector{text.data(), text.size()};
  result = co_await reactor.write(*fd, std::span(&vector, 1), offset, false);
  if (sync) EXPECT_TRUE((co_await reactor.sync(*fd)).has_value());
  reactor.close_now(*fd);
}

std::string text_of(const Simulation& simulation, const std::string& path) {
  auto content = simulation.read_file(path).value_or(std::vector<std::byte>());
  return {reinterpret_cast<const char*>(content.data()), content.size()};
}

TEST(SimulationTest, WhatWasSyncedSurvivesAPowerCut) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation simulation(seed);
    std::unique_ptr<Reactor> reactor = simulation.make_reactor();
    IoCount result;
    testing::run(*reactor, write_text(*reactor, "image", std::string(2000, 'a'), 0, true, result));
    simulation.power_cut();
    EXPECT_EQ(text_of(simulation, "image"), std::string(2000, 'a'));
  }
}

Task<void> write_twice(Reactor& reactor, Simulation& simulation) {
  auto fd = co_await reactor.open("image", O_RDWR | O_CREAT);
  std::string first(1000, 'a');
  std::string second(1000, 'b');
  iovec vectors[] = {{first.data(), first.size()}, {second.data(), second.size()}};
  EXPECT_TRUE((co_await reactor.write(*fd, std::span(vectors, 1), 0, false)).has_value());
  EXPECT_EQ(simulation.stable_content("image")->size(), 0u);
  EXPECT_TRUE((co_await reactor.write(*fd, std::span(vectors + 1, 1), 4096, true)).has_value());
  EXPECT_EQ((*simulation.stable_content("image"))[0], std::byte{0}) << "only what synced itself is certain";
  EXPECT_EQ((*simulation.stable_content("image"))[4096], std::byte{'b'});
  EXPECT_TRUE((co_await reactor.sync(*fd)).has_value());
  EXPECT_EQ(simulation.stable_content("image"), simulation.read_file("image"));
  reactor.close_now(*fd);
}

TEST(SimulationTest, TellsWhatIsOnTheDiskForCertain) {
  Simulation simulation;
  EXPECT_FALSE(simulation.stable_content("image").has_value());
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  testing::run(*reactor, write_twice(*reactor, simulation));
}

Task<void> write_directly(Reactor& reactor, std::span<char> data) {
  auto fd = co_await reactor.open("image", O_RDWR | O_CREAT | O_DIRECT);
  for (std::size_t offset : {0, 1}) {
    for (std::size_t length : {4096, 4097}) {
      for (std::uint64_t at : {std::uint64_t{4096}, std::uint64_t{4}}) {
        iovec vector{data.data() + offset, length};
        const bool is_aligned = offset == 0 && length == 4096 && at == 4096;
        const IoCount written = co_await reactor.write(*fd, std::span(&vector, 1), at, false);
        EXPECT_EQ(written, is_aligned ? IoCount(4096) : IoCount(fail(EINVAL)));
        if (is_aligned) continue;
        EXPECT_EQ(co_await reactor.read(*fd, std::span(&vector, 1), at), IoCount(fail(EINVAL)));
      }
    }
  }
  reactor.close_now(*fd);
}

TEST(SimulationTest, DirectAccessTakesWholeSectorsOnly) {
  Simulation simulation;
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  alignas(4096) std::array<char, 8192> data = {};
  testing::run(*reactor, write_directly(*reactor, data));
}

// Opens, stats and reads a file: three operations, of which one may fail.
Task<void> look_at(Reactor& reactor, std::vector<bool>& succeeded) {
  auto fd = co_await reactor.open("image", O_RDWR | O_CREAT);
  succeeded.push_back(fd.has_value());
  if (!fd) co_return;
  FileInfo info;
  succeeded.push_back((co_await reactor.stat(*fd, info)).has_value());
  char byte = 0;
  iovec vector{&byte, 1};
  succeeded.push_back((co_await reactor.read(*fd, std::span(&vector, 1), 0)).has_value());
  reactor.close_now(*fd);
}

TEST(SimulationTest, AFaultOfAnyKindMeetsOneOperationAfterTheOther) {
  const std::vector<bool> expected[] = {{false}, {true, false, true}, {true, true, false}, {true, true, true}};
  for (std::uint64_t after = 0; after < 4; ++after) {
    Simulation simulation;
    std::unique_ptr<Reactor> reactor = simulation.make_reactor();
    simulation.inject({.kind = {}, .error = EIO, .after = after});
    std::vector<bool> succeeded;
    testing::run(*reactor, look_at(*reactor, succeeded));
    EXPECT_EQ(succeeded, expected[after]) << after;
    EXPECT_EQ(simulation.faults_left(), after == 3 ? 1u : 0u);
  }
}

Task<void> open_and_lock(Reactor& reactor, Simulation& simulation) {
  auto fd = co_await reactor.open("image", O_RDONLY | O_CREAT | O_DIRECT);
  auto other = co_await reactor.open("image", O_RDWR);
  EXPECT_TRUE((co_await reactor.lock(*fd, 7, F_RDLCK)).has_value());
  EXPECT_EQ(simulation.describe_open_files(), "image r direct locks 7\nimage rw locks\n");
  EXPECT_TRUE((co_await reactor.lock(*fd, 7, F_UNLCK)).has_value());
  reactor.close_now(*other);
  EXPECT_EQ(simulation.describe_open_files(), "image r direct locks\n");
  reactor.close_now(*fd);
}

TEST(SimulationTest, TellsWhatIsOpenAndLocked) {
  Simulation simulation;
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  testing::run(*reactor, open_and_lock(*reactor, simulation));
  EXPECT_EQ(simulation.describe_open_files(), "");
}

// The results of a power cut after a write of 2000 bytes over zeroes, over many seeds.
TEST(SimulationTest, WhatWasNotSyncedIsKeptLostOrTornAtSectors) {
  std::set<std::string> outcomes;
  bool torn_inside_a_sector = false;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Simulation simulation(seed);
    simulation.make_file("image", 2048);
    std::unique_ptr<Reactor> reactor = simulation.make_reactor();
    IoCount result;
    testing::run(*reactor, write_text(*reactor, "image", std::string(2048, 'a'), 0, false, result));
    simulation.power_cut();
    std::string left = text_of(simulation, "image");
    for (std::size_t sector = 0; sector < 4; ++sector) {
      std::string part = left.substr(sector * 512, 512);
      torn_inside_a_sector |= part != std::string(512, 'a') && part != std::string(512, '\0');
    }
    outcomes.insert(left);
  }
  EXPECT_FALSE(torn_inside_a_sector);
  EXPECT_TRUE(outcomes.contains(std::string(2048, 'a')));
  EXPECT_TRUE(outcomes.contains(std::string(2048, '\0')));
  EXPECT_GT(outcomes.size(), 4u);
}

Task<void> write_through(Reactor& reactor, std::string& old_text, std::string& new_text) {
  auto fd = co_await reactor.open("image", O_RDWR);
  if (!fd) co_return;
  iovec vector{old_text.data(), old_text.size()};
  EXPECT_TRUE((co_await reactor.write(*fd, std::span(&vector, 1), 0, false)).has_value());
  vector = {new_text.data(), new_text.size()};
  EXPECT_TRUE((co_await reactor.write(*fd, std::span(&vector, 1), 0, true)).has_value());
  reactor.close_now(*fd);
}

TEST(SimulationTest, AWriteThroughSurvivesAndNoOlderOneLandsOnIt) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation simulation(seed);
    simulation.make_file("image", 1024);
    std::unique_ptr<Reactor> reactor = simulation.make_reactor();
    std::string old_text(1024, 'o');
    std::string new_text(1024, 'n');
    testing::run(*reactor, write_through(*reactor, old_text, new_text));
    simulation.power_cut();
    EXPECT_EQ(text_of(simulation, "image"), new_text);
  }
}

// Writes different texts to `fd` until a writeback error loses one; `text` receives it.
Task<void> write_until_lost(Reactor& reactor, Simulation& simulation, int fd, std::string& text) {
  do {
    text = std::string(512, static_cast<char>(text.empty() ? 'a' : text[0] + 1));
    iovec vector{text.data(), text.size()};
    EXPECT_TRUE((co_await reactor.sync(fd)).has_value());
    EXPECT_TRUE((co_await reactor.write(fd, std::span(&vector, 1), 0, false)).has_value());
  } while (!simulation.fail_write_back("image"));
}

struct Told {
  std::vector<IoResult> first;
  std::vector<IoResult> second;
  IoResult third;
  IoCount durable_write;
  std::string lost;
};

Task<void> lose_and_ask(Reactor& reactor, Simulation& simulation, Told& told) {
  auto first = co_await reactor.open("image", O_RDWR);
  auto second = co_await reactor.open("image", O_RDWR);
  if (!first || !second) co_return;
  co_await write_until_lost(reactor, simulation, *first, told.lost);
  for (int i = 0; i < 2; ++i) {
    told.first.push_back(co_await reactor.sync(*first));
    told.second.push_back(co_await reactor.sync(*second));
  }
  auto third = co_await reactor.open("image", O_RDWR);
  if (third) told.third = co_await reactor.sync(*third);
  co_await write_until_lost(reactor, simulation, *first, told.lost);
  iovec vector{told.lost.data(), told.lost.size()};
  told.durable_write = co_await reactor.write(*first, std::span(&vector, 1), 512, true);
  told.first.push_back(co_await reactor.sync(*first));
}

TEST(SimulationTest, AFailedWriteBackIsToldOnceToEachDescriptorAndThenForgotten) {
  Simulation simulation;
  simulation.make_file("image", 2048);
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  Told told;
  testing::run(*reactor, lose_and_ask(*reactor, simulation, told));
  EXPECT_EQ(told.first, (std::vector<IoResult>{fail(EIO), {}, {}})) << "the second loss was told to the durable write";
  EXPECT_EQ(told.second, (std::vector<IoResult>{fail(EIO), {}}));
  EXPECT_EQ(told.third, IoResult()) << "opened after it was told";
  EXPECT_EQ(told.durable_write, IoCount(fail(EIO)));
  EXPECT_EQ(text_of(simulation, "image").substr(0, 512), told.lost) << "readers see it until the power goes";
  simulation.power_cut();
  EXPECT_NE(text_of(simulation, "image").substr(0, 512), told.lost);
}

Task<void> cut_power_during_write(Reactor& reactor, Simulation& simulation, IoCount& result) {
  Scope scope(reactor);
  IoCount first;
  co_await write_text(reactor, "image", "x", 0, true, first);
  scope.spawn("writer", write_text(reactor, "image", std::string(512, 'y'), 0, false, result));
  co_await sleep(reactor, 1);
  while (simulation.open_descriptors() == 0) co_await next_turn();
  co_await next_turn();
  simulation.power_cut();
  co_await scope.join();
}

TEST(SimulationTest, OperationsUnderWayFailWhenThePowerGoes) {
  Simulation simulation({.seed = 3, .latency_min_ns = 500'000});
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  IoCount result;
  testing::run(*reactor, cut_power_during_write(*reactor, simulation, result));
  EXPECT_EQ(result, IoCount(fail(EIO)));
  std::string left = text_of(simulation, "image");
  EXPECT_TRUE(left == "x" || left == std::string(512, 'y')) << left;
}

TEST(SimulationTest, FaultsStrikeTheChosenOperations) {
  Simulation simulation;
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  simulation.inject({.kind = OperationKind::kWrite, .error = ENOSPC, .after = 1, .count = 2, .path = "image"});
  std::vector<IoCount> results;
  for (int i = 0; i < 4; ++i) {
    IoCount result;
    testing::run(*reactor, write_text(*reactor, "other", "abc", 0, false, result));
    EXPECT_EQ(result, IoCount(3));
    testing::run(*reactor, write_text(*reactor, "image", "abc", 0, false, result));
    results.push_back(result);
  }
  EXPECT_EQ(results, (std::vector<IoCount>{3, fail(ENOSPC), fail(ENOSPC), 3}));
}

TEST(SimulationTest, ShortTransfersMoveAtLeastOneByte) {
  Simulation simulation({.seed = 5, .short_transfers = true});
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  int shorter = 0;
  for (int i = 0; i < 100; ++i) {
    IoCount result;
    testing::run(*reactor, write_text(*reactor, "image", "0123456789", 0, false, result));
    ASSERT_TRUE(result.has_value());
    ASSERT_GE(*result, 1u);
    ASSERT_LE(*result, 10u);
    shorter += *result < 10;
  }
  EXPECT_GT(shorter, 5);
}

Task<void> note_order(Reactor& reactor, int name, std::vector<int>& order) {
  IoCount ignored;
  co_await write_text(reactor, "image", "x", 0, false, ignored);
  order.push_back(name);
}

std::vector<int> order_of_ten(std::uint64_t seed) {
  Simulation simulation(seed);
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  Scope scope(*reactor);
  std::vector<int> order;
  for (int name = 0; name < 10; ++name) scope.spawn("writer", note_order(*reactor, name, order));
  testing::run(*reactor, scope.join());
  return order;
}

TEST(SimulationTest, TheSeedDecidesTheOrder) {
  EXPECT_EQ(order_of_ten(1), order_of_ten(1));
  EXPECT_NE(order_of_ten(1), order_of_ten(2));
}

Task<void> accept_one(Reactor& reactor, int listener, int& accepted) {
  if (!co_await reactor.poll(listener, POLLIN)) co_return;
  accepted = reactor.try_accept(listener).value_or(-1);
}

TEST(SimulationTest, AListenerAcceptsWhoConnects) {
  Simulation simulation;
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  int listener = simulation.listen();
  EXPECT_EQ(reactor->try_accept(listener), (std::expected<int, Errno>(fail(EAGAIN))));
  Scope scope(*reactor);
  int accepted = -1;
  scope.spawn("acceptor", accept_one(*reactor, listener, accepted));
  int client = simulation.connect(listener);
  testing::run(*reactor, scope.join());
  EXPECT_GE(accepted, 1 << 30);
  char byte = 'x';
  iovec vector{&byte, 1};
  EXPECT_EQ(reactor->try_send(client, std::span(&vector, 1)), IoCount(1));
  simulation.reset_connection(client);
  EXPECT_EQ(reactor->try_receive(accepted, std::as_writable_bytes(std::span(&byte, 1))), IoCount(fail(ECONNRESET)));
  for (int fd : {client, accepted, listener}) reactor->close_now(fd);
  EXPECT_EQ(simulation.open_descriptors(), 0u);
}

TEST(SimulationTest, ByteByByteReceivesOneAtATime) {
  Simulation simulation({.streams = {.buffer_bytes = 4, .byte_by_byte = true}});
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  auto [one, other] = simulation.socket_pair();
  std::string text = "abcdef";
  iovec vector{text.data(), text.size()};
  EXPECT_EQ(reactor->try_send(one, std::span(&vector, 1)), IoCount(4)) << "no more than the buffer holds";
  EXPECT_EQ(reactor->try_send(one, std::span(&vector, 1)), IoCount(fail(EAGAIN)));
  EXPECT_EQ(reactor->try_receive(other, std::as_writable_bytes(std::span(text))), IoCount(1));
}

Task<void> wait_for(Event& event) {
  (void)co_await event.wait();
}

TEST(SimulationTest, RunUntilIdleLeavesWhoWaitsForOthers) {
  Simulation simulation;
  std::unique_ptr<Reactor> reactor = simulation.make_reactor();
  Event event(*reactor);
  Scope scope(*reactor);
  std::vector<int> order;
  scope.spawn("waiter", wait_for(event));
  scope.spawn("writer", note_order(*reactor, 1, order));
  simulation.run_until_idle(*reactor);
  EXPECT_EQ(order.size(), 1u);
  EXPECT_EQ(scope.size(), 1u);
  event.set();
  simulation.run_until_idle(*reactor);
  EXPECT_EQ(scope.size(), 0u);
}

TEST(SimulationDeathTest, ADeadlockNamesTheTasks) {
  EXPECT_DEATH(
      {
        Simulation simulation;
        std::unique_ptr<Reactor> reactor = simulation.make_reactor();
        Event event(*reactor);
        testing::run(*reactor, wait_for(event));
      },
      "nothing is under way:\n  test at .*simulation_test.cc:");
}

}  // namespace
}  // namespace blockexport::aio
