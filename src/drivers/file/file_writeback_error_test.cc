// The file driver on a simulated disk that loses data of the page cache and whose kernel reports the writeback error to
// one call only: no client may be promised lost data, whichever call on whichever reactor received the error.
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <random>
#include <vector>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/backends.h"
#include "aio/testing/interleaving.h"
#include "block/graph.h"
#include "block/node.h"
#include "drivers/driver_table.h"
#include "drivers/file/file_driver.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::drivers {
namespace {

using aio::Task;

constexpr std::size_t kSectorBytes = 512;
constexpr std::size_t kWrites = 12;
constexpr std::byte kUntouched{0xff};

// Writes each of its sectors once, and records which of them were promised to be durable.
struct Client {
  std::uint64_t offset = 0;
  std::array<std::byte, kWrites> content = {};
  std::array<bool, kWrites> written = {};
  std::array<bool, kWrites> promised = {};
  int failed = 0;
};

Task<IoResult> write_sector(block::Node& node, std::uint64_t offset, std::byte content, bool force_unit_access) {
  const block::Range range{.offset = offset, .length = kSectorBytes};
  if (content == std::byte{0}) co_return co_await node.write_zeroes(range, {.force_unit_access = force_unit_access});
  std::array<std::byte, kSectorBytes> data;
  data.fill(content);
  iovec vector{.iov_base = data.data(), .iov_len = data.size()};
  co_return co_await node.write(range, {&vector, 1}, {.force_unit_access = force_unit_access});
}

Task<void> write_all(block::Node& node, Client& client, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i < kWrites; ++i) {
    client.content[i] = random() % 3 == 0 ? std::byte{0} : static_cast<std::byte>(1 + i);
    const bool force_unit_access = random() % 2 == 0;
    IoResult result =
        co_await write_sector(node, client.offset + i * kSectorBytes, client.content[i], force_unit_access);
    client.written[i] = result.has_value();
    client.promised[i] = client.written[i] && force_unit_access;
    if (!result) ++client.failed;
    if (random() % 3 != 0) continue;
    result = co_await node.flush();
    if (result) client.promised = client.written;
    if (!result) ++client.failed;
  }
}

Task<void> open_node(std::string path, std::unique_ptr<block::Node>& node) {
  FileOptions options{.filename = path, .locking = FileLocking::kOff};
  auto driver = co_await FileDriver::open(std::move(options));
  if (driver) node = std::make_unique<block::Node>("disk", std::move(*driver), block::NodeOptions{});
}

// Sets `lost` when the failure did lose data.
Task<void> write_while_it_fails(block::Node& node, std::deque<Client>& clients, aio::testing::Interleaving& reactors,
                                bool& lost) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  aio::Scope scope(reactor);
  for (Client& client : clients) {
    aio::DataReactor& data_reactor = reactors.data_reactor(reactors.random().below(reactors.size()));
    scope.spawn("client", aio::run_on(data_reactor, "client", write_all(node, client, reactors.random().next())));
  }
  (void)co_await reactor.sleep_until(reactor.now_ns() + reactors.random().below(8'000'000));
  lost = reactors.simulation().fail_write_back("disk");
  co_await scope.join();
}

// One disk with one writeback error. The test compares the promises to clients with the content after a power cut.
class LosingDisk {
 public:
  explicit LosingDisk(std::uint64_t seed) : reactors_(1 + seed % 3, {.seed = seed}) {
    for (std::uint64_t i = 0; i < 2 + seed % 4; ++i) clients_.push_back({.offset = i * kWrites * kSectorBytes});
    simulation().write_file("disk", std::vector(clients_.size() * kWrites * kSectorBytes, kUntouched));
    // write_zeroes writes zeros as data, because the disk refuses to allocate.
    simulation().inject({.kind = aio::OperationKind::kAllocate, .error = EOPNOTSUPP, .count = UINT64_MAX});
    reactors_.run(open_node("disk", node_));
  }

  void run() {
    ASSERT_NE(node_, nullptr);
    reactors_.run(write_while_it_fails(*node_, clients_, reactors_, lost));
    simulation().power_cut();
    const std::vector<std::byte> left = simulation().read_file("disk").value_or(std::vector<std::byte>());
    for (const Client& client : clients_) {
      failed += client.failed;
      for (std::size_t i = 0; i < kWrites; ++i) {
        if (client.promised[i]) EXPECT_EQ(left.at(client.offset + i * kSectorBytes), client.content[i]);
      }
    }
  }

  bool lost = false;
  int failed = 0;  // number of failed replies

 private:
  aio::Simulation& simulation() { return reactors_.simulation(); }

  aio::testing::Interleaving reactors_;
  std::deque<Client> clients_;
  std::unique_ptr<block::Node> node_;
};

TEST(FileWritebackErrorTest, AnErrorReportedToOneCallFailsAllWhoseDataMayBeLost) {
  int losses = 0;
  int noticed = 0;
  for (std::uint64_t seed = 1; seed <= 3000 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    LosingDisk disk(seed);
    disk.run();
    losses += disk.lost ? 1 : 0;
    noticed += disk.failed > 0 ? 1 : 0;
    if (!disk.lost) EXPECT_EQ(disk.failed, 0);
  }
  // The disk did fail, and some client received the error.
  EXPECT_GT(losses, 1500);
  EXPECT_GT(noticed, losses / 2);
}

Task<void> flush_after_a_writeback_error(aio::Simulation& simulation, block::Node& node) {
  for (std::uint64_t i = 0; i < kWrites; ++i) {
    EXPECT_TRUE(co_await write_sector(node, i * kSectorBytes, std::byte{1}, false));
  }
  EXPECT_TRUE(simulation.fail_write_back("disk"));
  EXPECT_EQ((co_await node.flush()).error(), Errno(EIO));
  // The kernel has reported the error, and its calls succeed from here on.
  EXPECT_EQ((co_await node.flush()).error(), Errno(EIO));
  EXPECT_TRUE(co_await write_sector(node, 0, std::byte{2}, false));
  EXPECT_EQ((co_await node.flush()).error(), Errno(EIO));
}

TEST(FileWritebackErrorTest, NoFlushSucceedsAfterAWritebackError) {
  aio::Simulation simulation(1);
  std::unique_ptr<aio::Reactor> reactor = simulation.make_reactor();
  simulation.write_file("disk", std::vector(kWrites * kSectorBytes, kUntouched));
  std::unique_ptr<block::Node> node;
  aio::testing::run(*reactor, open_node("disk", node));
  ASSERT_NE(node, nullptr);
  aio::testing::run(*reactor, flush_after_a_writeback_error(simulation, *node));
}

schema::BlockdevOptions disk_options(bool direct) {
  const json::Object cache{{"direct", direct}};
  auto decoded = schema::decode<schema::BlockdevOptions>(
      json::Object{{"driver", "file"}, {"node-name", "disk"}, {"filename", "disk"}, {"cache", cache}});
  EXPECT_TRUE(decoded) << decoded.error().message();
  return std::move(*decoded);
}

Task<void> reopen_after_a_writeback_error(aio::Simulation& simulation, block::Graph& graph) {
  EXPECT_TRUE(co_await graph.add(disk_options(false)));
  {
    auto edge = co_await graph.attach("disk", {.name = "root"}, {.used = block::Permission::kWrite});
    EXPECT_TRUE(edge.has_value());
    block::Node& node = (*edge)->node();
    EXPECT_TRUE(co_await write_sector(node, 0, std::byte{1}, false));
    EXPECT_TRUE(simulation.fail_write_back("disk"));
    EXPECT_EQ((co_await node.flush()).error(), Errno(EIO));
    EXPECT_TRUE(co_await write_sector(node, 0, std::byte{2}, false));
    std::vector<schema::BlockdevOptions> list;
    list.push_back(disk_options(true));
    EXPECT_FALSE(co_await graph.reopen(std::move(list)));
    EXPECT_EQ((co_await node.flush()).error(), Errno(EIO));
    co_await graph.detach(std::move(*edge));
  }
  co_await graph.close();
}

// With direct access a flush would succeed, since it concerns nothing that the page cache has lost.
TEST(FileWritebackErrorTest, ANodeWithAWritebackErrorCannotBeReopened) {
  aio::Simulation simulation(1);
  std::unique_ptr<aio::Reactor> reactor = simulation.make_reactor();
  simulation.write_file("disk", std::vector(kWrites * kSectorBytes, kUntouched));
  BuiltInDrivers drivers;
  Trace trace;
  block::Graph graph(*reactor, drivers, trace);
  aio::testing::run(*reactor, reopen_after_a_writeback_error(simulation, graph));
}

}  // namespace
}  // namespace blockexport::drivers
