// WRITEs of clients that continue or overlap each other, through transmission and the file driver to a simulated disk
// that takes less than it is given, fails, and loses its power: what is merged on the way changes no result.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/backends.h"
#include "block/edge.h"
#include "drivers/file/file_driver.h"
#include "export/nbd/testing/client.h"
#include "export/nbd/transmission/transmission.h"
#include "net/socket_stream.h"

namespace blockexport::nbd::testing {
namespace {

using aio::Task;

constexpr std::uint64_t kPartBytes = 24u << 10;  // of the disk: each client has its own
constexpr std::uint64_t kClients = 2;
constexpr std::uint64_t kBatches = 12;
constexpr std::uint64_t kWritesMax = 24;  // of a batch
// The largest write: more than a small one may be.
constexpr std::uint64_t kLongWriteBytes = 5000;

// The possible values of each byte of a range. Requests that are under way together may be done in any order, and the
// bytes that a failed one has left behind are unknown; all other bytes are known.
class Model {
 public:
  explicit Model(std::size_t bytes) : possible_(bytes, Values(1)) {}

  // Begins a batch of requests that are under way together.
  void begin() { covered_.assign(possible_.size(), {}); }
  void write(block::Range range, std::byte value, bool succeeded) {
    for (std::uint64_t at = range.offset; at < range.end(); ++at) {
      covered_[at].values.set(std::to_integer<std::size_t>(value));
      covered_[at].for_certain |= succeeded;
    }
  }
  void end() {
    for (std::size_t at = 0; at < possible_.size(); ++at) {
      if (covered_[at].for_certain) possible_[at].reset();
      possible_[at] |= covered_[at].values;
    }
  }

  // The first place where `content` has no possible value; its size when there is none.
  std::size_t first_difference(std::span<const std::byte> content) const {
    std::size_t at = 0;
    while (at < content.size() && possible_[at].test(std::to_integer<std::size_t>(content[at]))) ++at;
    return at;
  }
  // Number of bytes with one possible value.
  std::size_t known_bytes() const {
    return static_cast<std::size_t>(std::ranges::count(possible_, 1u, &Values::count));
  }
  // Takes the bytes that were read as the known ones.
  void settle(std::span<const std::byte> content) {
    for (std::size_t at = 0; at < content.size(); ++at) {
      possible_[at].reset();
      possible_[at].set(std::to_integer<std::size_t>(content[at]));
    }
  }

 private:
  using Values = std::bitset<256>;  // of a byte
  struct Covered {
    Values values;
    bool for_certain = false;
  };
  std::vector<Values> possible_;
  std::vector<Covered> covered_;
};

struct Write {
  block::Range range;  // in the client's part
  std::byte value;
  std::uint16_t flags;
  bool succeeded = false;
};

struct Tally {
  std::uint64_t writes = 0;
  std::uint64_t failed = 0;
  std::uint64_t changes = 0;        // of the file: calls that reached it
  std::uint64_t faults = 0;         // that were laid in the way
  std::uint64_t unknown_bytes = 0;  // at the ends of batches
  std::uint64_t power_cuts = 0;     // after a flush that succeeded
};

// One client that writes its part of the disk in batches, and reads it again after each.
class Writer {
 public:
  Writer(aio::Reactor& reactor, int fd, HeaderMode mode, std::uint64_t start, std::uint64_t seed)
      : client_(std::make_unique<net::SocketStream>(reactor, fd), mode), start_(start), random_(seed) {}

  Task<void> run(Tally& tally) {
    for (std::uint64_t batch = 0; batch < kBatches && !::testing::Test::HasFailure(); ++batch) {
      std::deque<Write> writes = choose();
      co_await perform(writes);
      model_.begin();
      for (const Write& write : writes) {
        model_.write(write.range, write.value, write.succeeded);
        tally.failed += write.succeeded ? 0 : 1;
      }
      model_.end();
      tally.writes += writes.size();
      tally.unknown_bytes += kPartBytes - model_.known_bytes();
      const Answer read = co_await client_.ask(Command::kRead, start_, kPartBytes);
      EXPECT_EQ(read.error, 0u);
      EXPECT_EQ(read.data.size(), kPartBytes);
      EXPECT_EQ(model_.first_difference(read.data), read.data.size());
      model_.settle(read.data);
    }
    client_.close();
  }

  void check(std::span<const std::byte> disk) const {
    std::span<const std::byte> part = disk.subspan(start_, kPartBytes);
    EXPECT_EQ(model_.first_difference(part), part.size());
  }

 private:
  std::deque<Write> choose() {
    std::deque<Write> writes;
    std::uint64_t end = random_.below(kPartBytes);
    std::uint16_t flags = 0;
    for (std::uint64_t i = random_.between(1, kWritesMax); i > 0; --i) {
      const std::uint64_t length = random_.between(1, random_.one_in(10) ? kLongWriteBytes : 700);
      // Most go on where the last one ended; of the others, half leave a gap, and half overlap it.
      if (random_.one_in(6)) end = end + random_.below(1000) - std::min<std::uint64_t>(end, 500);
      if (random_.one_in(12)) flags ^= command_flag::kFua;
      if (end + length > kPartBytes) end = random_.below(kPartBytes - length);
      value_ = static_cast<std::byte>(static_cast<unsigned>(value_) + 1);
      writes.push_back({.range = {.offset = end, .length = length}, .value = value_, .flags = flags});
      end += length;
    }
    return writes;
  }

  // All of them in one piece, and then their replies in whatever order they come.
  Task<void> perform(std::deque<Write>& writes) {
    Bytes sent;
    for (std::size_t i = 0; i < writes.size(); ++i) {
      const Bytes data(writes[i].range.length, writes[i].value);
      const Bytes one = client_.codec().write(i, start_ + writes[i].range.offset, data, writes[i].flags);
      sent.insert(sent.end(), one.begin(), one.end());
    }
    EXPECT_TRUE((co_await client_.send(std::move(sent))).has_value());
    std::set<std::uint64_t> answered;
    while (answered.size() < writes.size()) {
      const Answer answer = co_await client_.answer();
      const bool expected = !answer.ended && answer.cookie < writes.size() && answered.insert(answer.cookie).second;
      EXPECT_TRUE(expected) << "a reply that nobody waits for";
      if (!expected) co_return;
      writes[answer.cookie].succeeded = answer.error == 0;
    }
  }

  Client client_;
  std::uint64_t start_;
  aio::Random random_;
  Model model_{kPartBytes};
  std::byte value_{0};
};

struct Weakness {
  bool takes_less = false;  // than it is given, of some writes
  int error = 0;            // that some writes get
};

// A disk, its node and what a transmission needs, and clients.
class MergingDisk {
 public:
  MergingDisk(std::uint64_t seed, Weakness weakness)
      : simulation_({.seed = seed, .short_transfers = weakness.takes_less}),
        error_(weakness.error),
        mode_(kAllModes[seed % 3]) {
    simulation_.make_file("disk", kClients * kPartBytes);
    aio::testing::run(*reactor_, open());
  }

  Tally run() {
    if (edge_) aio::testing::run(*reactor_, serve());
    return tally_;
  }

 private:
  Task<void> open() {
    drivers::FileOptions options{.filename = "disk", .locking = drivers::FileLocking::kOff};
    auto driver = co_await drivers::FileDriver::open(std::move(options));
    EXPECT_TRUE(driver.has_value());
    if (!driver) co_return;
    node_ = std::make_unique<block::Node>("disk", std::move(*driver), block::NodeOptions{});
    edge_.emplace(*node_, block::EdgeParent{.name = "root"}, block::Permissions{});
  }

  // The file's time stamp: it counts the changes.
  Task<std::uint64_t> changes() {
    auto fd = co_await reactor_->open("disk", O_RDONLY);
    aio::FileInfo info;
    if (!fd || !co_await reactor_->stat(*fd, info)) ADD_FAILURE() << "the file is gone";
    if (fd) reactor_->close_now(*fd);
    co_return static_cast<std::uint64_t>(info.modified_ns);
  }

  Task<void> serve() {
    const std::uint64_t changes_before = co_await changes();
    std::deque<Writer> writers;
    std::deque<Transmission> transmissions;
    aio::Scope serving(*reactor_);
    aio::Scope writing(*reactor_);
    for (std::uint64_t i = 0; i < kClients; ++i) {
      auto [ours, theirs] = simulation_.socket_pair();
      TransmissionContext context{.reactor = *reactor_,
                                  .pool = pool_,
                                  .process_budget = budget_,
                                  .edge = *edge_,
                                  .fence = fence_,
                                  .trace = trace_,
                                  .peer = "client"};
      transmissions.emplace_back(context, std::make_unique<net::SocketStream>(*reactor_, ours),
                                 make_state(mode_, kClients * kPartBytes), std::span<const std::byte>{});
      writers.emplace_back(*reactor_, theirs, mode_, i * kPartBytes, simulation_.random().next());
      serving.spawn("transmission", serve_one(transmissions.back()));
      writing.spawn("writer", writers.back().run(tally_));
    }
    if (error_ != 0) co_await fail_now_and_then();
    co_await writing.join();
    co_await serving.join();
    tally_.changes = co_await changes() - changes_before;
    EXPECT_EQ(node_->statistics().write.operations() + node_->statistics().write.failed(), tally_.writes);
    EXPECT_EQ(node_->statistics().write.failed(), tally_.failed);
    simulation_.clear_faults();
    check_what_is_left(writers, co_await node_->flush());
  }

  void check_what_is_left(const std::deque<Writer>& writers, IoResult flushed) {
    if (flushed) {
      simulation_.power_cut();
      ++tally_.power_cuts;
    }
    const std::vector<std::byte> left = simulation_.read_file("disk").value_or(std::vector<std::byte>());
    EXPECT_EQ(left.size(), kClients * kPartBytes);
    for (const Writer& writer : writers) writer.check(left);
  }

  static Task<void> serve_one(Transmission& transmission) {
    co_await transmission.run();
    transmission.close();
  }

  // Faults strike writes that are under way; while they stand, none is made at once.
  Task<void> fail_now_and_then() {
    for (int i = 0; i < 8; ++i) {
      (void)co_await reactor_->sleep_until(reactor_->now_ns() + simulation_.random().below(4'000'000));
      const std::uint64_t count = simulation_.random().between(1, 3);
      simulation_.inject({.kind = aio::OperationKind::kWrite, .error = error_, .count = count});
      tally_.faults += count;
      (void)co_await reactor_->sleep_until(reactor_->now_ns() + simulation_.random().below(1'000'000));
      simulation_.clear_faults();
    }
  }

  aio::Simulation simulation_;
  const int error_;
  const HeaderMode mode_;
  std::unique_ptr<aio::Reactor> reactor_ = simulation_.make_reactor();
  std::unique_ptr<block::Node> node_;
  std::optional<block::Edge> edge_;
  aio::BufferPool pool_;
  aio::ProcessBudget budget_{aio::ProcessBudget::kBytesDefault};
  exports::WriteFence fence_;
  Trace trace_;
  Tally tally_;
};

Tally run_seeds(std::uint64_t count, Weakness weakness) {
  Tally all;
  for (std::uint64_t seed = 1; seed <= count && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    MergingDisk disk(seed, weakness);
    const Tally one = disk.run();
    all.writes += one.writes;
    all.failed += one.failed;
    all.changes += one.changes;
    all.faults += one.faults;
    all.unknown_bytes += one.unknown_bytes;
    all.power_cuts += one.power_cuts;
  }
  return all;
}

constexpr std::uint64_t kSeeds = 40;
// Number of bytes of the clients' parts that the model looks at, all batches together.
constexpr std::uint64_t kLookedAt = kSeeds * kClients * kBatches * kPartBytes;

TEST(MergedWritesTest, AreFewerCallsAndLeaveWhatEachWouldHaveLeft) {
  const Tally all = run_seeds(kSeeds, {});
  EXPECT_EQ(all.failed, 0u);
  EXPECT_EQ(all.power_cuts, kSeeds);
  EXPECT_LT(all.changes, all.writes * 3 / 4);
  EXPECT_LT(all.unknown_bytes, kLookedAt / 20);
}

TEST(MergedWritesTest, AreMadeAgainOneByOneWhenTheyAreCutShort) {
  const Tally all = run_seeds(kSeeds, {.takes_less = true});
  EXPECT_EQ(all.failed, 0u);
  EXPECT_EQ(all.power_cuts, kSeeds);
  EXPECT_GT(all.changes, all.writes * 3 / 4);
  EXPECT_LT(all.unknown_bytes, kLookedAt / 20);
}

TEST(MergedWritesTest, AreAnsweredEachForItselfByADiskThatIsFull) {
  const Tally all = run_seeds(kSeeds, {.takes_less = true, .error = ENOSPC});
  EXPECT_GT(all.failed, kSeeds);
  EXPECT_LE(all.failed, all.faults);
  EXPECT_EQ(all.power_cuts, kSeeds);
  EXPECT_LT(all.unknown_bytes, kLookedAt / 20);
}

// One durable write that fails so may have taken the only report of a loss: nothing is durable from then on.
TEST(MergedWritesTest, AreAnsweredEachForItselfByADiskThatBreaks) {
  const Tally all = run_seeds(kSeeds, {.takes_less = true, .error = EIO});
  EXPECT_GT(all.failed, kSeeds);
  EXPECT_LT(all.power_cuts, kSeeds);
  EXPECT_LT(all.unknown_bytes, kLookedAt / 10);
}

}  // namespace
}  // namespace blockexport::nbd::testing
