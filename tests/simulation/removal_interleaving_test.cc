// An export and its nodes that are removed, in every way, and made anew while clients of several reactors use them over
// NBD: what clients were promised is on the simulated disk, nothing reaches the disk once the export is said to be
// gone, and no node goes from under an export.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "aio/task/current.h"
#include "aio/testing/interleaving.h"
#include "block/graph.h"
#include "block/testing/promise_model.h"
#include "drivers/driver_table.h"
#include "export/nbd/server/nbd_export.h"
#include "export/nbd/server/server.h"
#include "export/nbd/testing/client.h"
#include "export/registry.h"
#include "json/value.h"
#include "net/socket_stream.h"
#include "schema/codec.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;
using block::PromiseModel;
using block::Range;
using exports::RemoveMode;

constexpr const char* kDisk = "/disk";
constexpr std::byte kInitial{0xee};
constexpr std::uint64_t kSectorLength = PromiseModel::kSectorBytes;
constexpr std::uint64_t kLaneSectors = 10;
constexpr std::uint64_t kLanesMax = 4;
constexpr std::uint64_t kSectors = kLaneSectors * kLanesMax;
constexpr int kRemovals = 5;
constexpr std::uint64_t kPauseNsMax = 400'000;
constexpr std::size_t kGreetingBytes = 18;     // before a client speaks
constexpr std::size_t kExportReplyBytes = 10;  // the size and the flags

// Fewer where every commit is tested.
std::uint64_t seeds() {
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 10'000 : 150;
}

schema::BlockdevOptions options(std::initializer_list<json::Object::Member> members) {
  auto decoded = schema::decode<schema::BlockdevOptions>(json::Object(members));
  if (!decoded) std::abort();
  return std::move(*decoded);
}

class Household {
 public:
  explicit Household(std::uint64_t seed) : reactors_(1 + seed % 3, {.seed = seed, .latency_max_ns = 300'000}) {
    simulation().write_file(kDisk, std::vector(kSectors * kSectorLength, kInitial));
  }

  Task<void> run();
  aio::testing::Interleaving& reactors() { return reactors_; }
  const std::string& fault() const { return fault_; }
  std::uint64_t acknowledged() const { return acknowledged_; }

 private:
  aio::Simulation& simulation() { return reactors_.simulation(); }
  aio::Random& random() { return reactors_.random(); }
  bool expect(bool holds, std::string_view what) {
    if (!holds && fault_.empty()) fault_ = what;
    return fault_.empty();
  }
  std::vector<std::byte> content() { return simulation().read_file(kDisk).value_or(std::vector<std::byte>()); }
  Task<void> pause(std::uint64_t ns_max = kPauseNsMax);

  // A client of a part of the disk, which comes again whenever it was cut off.
  Task<void> use_lane(std::uint64_t first_sector);
  Task<std::unique_ptr<Client>> connect();
  Task<bool> ask_once(Client& client, std::uint64_t first_sector);
  bool change_is_answered(const Answer& answer, Range range, bool is_durable);

  Task<bool> open();
  Task<void> remove_and_open();
  Task<void> remove_export();
  Task<void> remove_nodes();
  void check_durable(Range range);

  aio::testing::Interleaving reactors_;
  Log log_{"simulation_test", 2, LogLevel::kError};
  ExportNames names_;
  drivers::BuiltInDrivers drivers_;
  Trace trace_;
  block::Graph graph_{reactors_.control(), drivers_, trace_};
  aio::ReactorPool pool_{reactors_.data_reactor(0), {}, log_, 1};
  aio::ProcessBudget budget_;
  aio::Event serving_{reactors_.control()};
  exports::Registry registry_{reactors_.control(),
                              [this](std::unique_ptr<block::Edge> edge) { return graph_.detach(std::move(edge)); },
                              [this](const std::string&) {
                                ++deletions_;
                                at_deletion_ = content();
                              }};
  Server server_{reactors_.control(), pool_, budget_, log_, serving_, names_, {.max_connections = 0}};
  PromiseModel model_{kSectors, kInitial};
  std::vector<std::byte> at_deletion_;
  int deletions_ = 0;
  bool is_over_ = false;
  std::uint64_t acknowledged_ = 0;
  std::string fault_;
};

Task<void> Household::pause(std::uint64_t ns_max) {
  aio::Reactor& reactor = reactors_.control();
  if (!random().one_in(3)) (void)co_await reactor.sleep_until(reactor.now_ns() + random().below(ns_max));
}

Task<bool> Household::open() {
  Result<> added = co_await graph_.add(options({{"driver", "file"}, {"node-name", "f"}, {"filename", kDisk}}));
  if (added) added = co_await graph_.add(options({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}}));
  if (!expect(added.has_value(), "the nodes could not be made")) co_return false;
  const block::Permissions permissions{.used = block::Permission::kConsistentRead | block::Permission::kWrite};
  auto edge = co_await graph_.attach("r", {.name = "root"}, permissions);
  if (!expect(edge.has_value(), "the export has no node")) co_return false;
  NbdExportOptions wanted{.common = {.id = "e", .writable = true}, .name = "e"};
  for (std::size_t i = 0; i < reactors_.size(); ++i) wanted.common.reactors.push_back(&reactors_.data_reactor(i));
  registry_.add(std::make_unique<NbdExport>(names_, wanted, std::move(*edge)));
  co_return true;
}

Task<void> Household::run() {
  if (!co_await open()) co_return;
  aio::Scope scope(reactors_.control());
  for (std::uint64_t lane = random().between(1, kLanesMax); lane > 0; --lane) {
    scope.spawn("client", use_lane((lane - 1) * kLaneSectors));
  }
  for (int i = 0; i < kRemovals && fault_.empty(); ++i) {
    co_await pause(kPauseNsMax * 10);
    co_await remove_and_open();
  }
  co_await pause(kPauseNsMax * 10);
  is_over_ = true;
  co_await registry_.remove_all(RemoveMode::kHard, [](const exports::Export&) { return true; });
  co_await server_.close_connections();
  co_await server_.stop_listening();
  co_await scope.join();
  simulation().power_cut();
  expect(model_.may_be_left(model_.whole(), content()), "the power cut left something else");
  co_await graph_.close();
}

Task<void> Household::remove_and_open() {
  co_await remove_export();
  expect(content() == at_deletion_, "something was written for an export that is gone");
  co_await remove_nodes();
  expect(content() == at_deletion_, "something was written for a node that is gone");
  expect(simulation().describe_open_files().empty(), "a file was left open");
  if (fault_.empty()) (void)co_await open();
}

// By one mode after the other, each sharper, until it is gone.
Task<void> Household::remove_export() {
  const int before = deletions_;
  auto mode = static_cast<RemoveMode>(random().below(5));
  Result<> removed = co_await registry_.remove("e", mode);
  expect(removed.has_value() || mode == RemoveMode::kSafe, "a removal was refused");
  while (deletions_ == before && fault_.empty()) {
    co_await pause();
    if (deletions_ > before) break;
    // It is given back last, shortly before the news of the end.
    Result<> gone = co_await graph_.remove("r");
    const exports::Export* left = registry_.find("e");
    expect(!gone || left == nullptr || left->client_count() == 0, "a node went from under its export's clients");
    if (gone || !random().one_in(3)) continue;
    // Refused when it has begun already, or is over.
    if (mode < RemoveMode::kHard) mode = static_cast<RemoveMode>(static_cast<int>(mode) + 1);
    (void)co_await registry_.remove("e", mode);
  }
}

Task<void> Household::remove_nodes() {
  if (graph_.find("r") != nullptr) {
    Result<> removed = co_await graph_.remove("r");
    expect(removed.has_value(), "a node stayed in use without an export");
  }
  Result<> removed = co_await graph_.remove("f");
  expect(removed.has_value(), "the file stayed in use without a node");
}

Task<void> Household::use_lane(std::uint64_t first_sector) {
  while (!is_over_ && fault_.empty()) {
    std::unique_ptr<Client> client = co_await connect();
    // Hidden exports are used on; a client that leaves lets them end.
    for (std::uint64_t requests = random().between(4, 40); client != nullptr && requests > 0; --requests) {
      if (!co_await ask_once(*client, first_sector)) break;
      if (random().one_in(4)) co_await pause();
    }
    client.reset();
    co_await pause();
  }
}

// Null when there is no export now.
Task<std::unique_ptr<Client>> Household::connect() {
  auto [mine, other] = simulation().socket_pair();
  server_.admit(std::make_unique<net::SocketStream>(reactors_.control(), other), "client", {}, names_.number_client());
  auto stream = std::make_unique<net::SocketStream>(reactors_.control(), mine);
  const Bytes asked = ClientBytes().u32(3).export_name("e").bytes();
  if (!co_await net::send_all(*stream, asked)) co_return nullptr;
  std::array<std::byte, kGreetingBytes + kExportReplyBytes> received;
  for (std::size_t count = 0; count < received.size();) {
    const IoCount more = co_await net::receive_some(*stream, std::span(received).subspan(count));
    if (!more || *more == 0) co_return nullptr;
    count += *more;
  }
  co_return std::make_unique<Client>(std::move(stream), HeaderMode::kSimple);
}

// False: the connection has ended, or the export serves no more.
Task<bool> Household::ask_once(Client& client, std::uint64_t first_sector) {
  const std::uint64_t first = random().below(kLaneSectors);
  const Range range{(first_sector + first) * kSectorLength,
                    random().between(1, std::min<std::uint64_t>(3, kLaneSectors - first)) * kSectorLength};
  const bool is_durable = random().one_in(3);
  const std::uint16_t flags = is_durable ? command_flag::kFua : 0;
  switch (random().below(5)) {
    case 0: {
      const PromiseModel::Moment begun = model_.flush_begins();
      const Answer answer = co_await client.ask(Command::kFlush, 0, 0);
      if (answer.ended || answer.error != 0) co_return false;
      model_.flush_is_acknowledged(begun);
      check_durable(model_.whole());
      co_return true;
    }
    case 1: {
      const Answer answer = co_await client.ask(Command::kRead, range.offset, range.length);
      if (answer.ended || answer.error != 0) co_return false;
      expect(model_.may_be_read(range, answer.data), "a reader saw what was not written");
      co_return true;
    }
    case 2:
      model_.write_begins(range, std::byte{0});
      co_return change_is_answered(co_await client.ask(Command::kWriteZeroes, range.offset, range.length, flags), range,
                                   is_durable);
    default: {
      const auto value = static_cast<char>(random().between(1, 100));
      model_.write_begins(range, static_cast<std::byte>(value));
      co_return change_is_answered(co_await client.ask_write(range.offset, bytes_of(value, range.length), flags), range,
                                   is_durable);
    }
  }
}

bool Household::change_is_answered(const Answer& answer, Range range, bool is_durable) {
  if (answer.ended || answer.error != 0) return false;
  ++acknowledged_;
  model_.write_is_acknowledged(range, is_durable);
  if (is_durable) check_durable(range);
  return true;
}

void Household::check_durable(Range range) {
  const std::vector<std::byte> stable = simulation().stable_content(kDisk).value_or(std::vector<std::byte>());
  const bool kept = model_.may_be_left(range, std::span(stable).subspan(range.offset, range.length));
  expect(kept, "the disk may lose what was promised");
}

TEST(RemovalInterleavingTest, ARemovalLosesNothingAcknowledgedAndNothingIsWrittenAfterIt) {
  std::uint64_t acknowledged = 0;
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
    Household household(seed);
    household.reactors().run(household.run());
    ASSERT_EQ(household.fault(), "") << "seed " << seed;
    acknowledged += household.acknowledged();
  }
  // Clients did get to write.
  EXPECT_GT(acknowledged, seeds() * 10);
}

}  // namespace
}  // namespace blockexport::nbd::testing
