// Clients on several reactors that read, write and discard the same sectors of an image while snapshots of it are
// taken, given up, deleted and listed: in the simulation with many seeds, and on threads. Each read, the disk and each
// snapshot are compared with a model.
#include <atomic>
#include <map>
#include <mutex>
#include <random>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/seeds.h"
#include "block/testing/reactors.h"
#include "drivers/qcow2/testing/memory_image.h"
#include "drivers/qcow2/testing/snapshot_image.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = SnapshotImageBytes;
using block::Range;

constexpr std::uint64_t kSector = kSnapshotImageSector;
constexpr std::size_t kReactors = 3;
constexpr std::size_t kClients = 5;
constexpr int kRequests = 50;
constexpr std::size_t kSnapshotsKeptMax = 3;

struct Variant {
  Geometry geometry;
  std::uint64_t clusters;
};

// Several L2 tables, where they are not too large.
Variant variant_of(std::uint64_t seed) {
  switch (seed % 4) {
    case 0:
      return {.geometry = {.cluster_bits = 9}, .clusters = 200};
    case 1:
      return {.geometry = {.cluster_bits = 12}, .clusters = 24};
    case 2:
      return {.geometry = {.cluster_bits = 14, .extended_l2 = true}, .clusters = 12};
    default:
      return {.geometry = {.cluster_bits = 9, .zero_flag = false}, .clusters = 150};
  }
}

// Values that each sector may show. Writes that overlap in time make a group; after it a sector has the value of any of
// them. Thread: any.
class SharedModel {
 public:
  explicit SharedModel(std::uint64_t sectors) : sectors_(sectors) {}

  std::uint64_t size() const { return sectors_.size(); }

  void begin_write(std::uint64_t first, std::uint64_t count, std::byte value) {
    const std::lock_guard lock(mutex_);
    for (Sector& one : std::span(sectors_).subspan(first, count)) {
      if (one.writers++ == 0) one.group.clear();
      one.group.push_back(value);
      one.begun.push_back(value);
    }
  }
  void end_write(std::uint64_t first, std::uint64_t count) {
    const std::lock_guard lock(mutex_);
    for (Sector& one : std::span(sectors_).subspan(first, count)) {
      if (--one.writers == 0) one.settled = one.group;
    }
  }

  // What a read may show that begins now: values before, and the number of writes that have begun.
  struct Seen {
    std::vector<std::byte> before;
    std::size_t begun = 0;
  };
  std::vector<Seen> begin_read(std::uint64_t first, std::uint64_t count) {
    const std::lock_guard lock(mutex_);
    std::vector<Seen> all;
    for (const Sector& one : std::span(sectors_).subspan(first, count)) {
      Seen& seen = all.emplace_back(Seen{.before = one.settled, .begun = one.begun.size()});
      if (one.writers != 0) seen.before.insert(seen.before.end(), one.group.begin(), one.group.end());
    }
    return all;
  }
  void end_read(std::uint64_t first, std::span<const Seen> seen, std::span<const std::byte> bytes) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const auto sector = bytes.subspan(i * kSector, kSector);
      EXPECT_EQ(std::ranges::count(sector, sector[0]), std::ptrdiff_t{kSector}) << "sector " << first + i;
      const std::vector<std::byte>& begun = sectors_[first + i].begun;
      const auto later = begun.begin() + static_cast<std::ptrdiff_t>(seen[i].begun);
      if (std::ranges::find(seen[i].before, sector[0]) != seen[i].before.end()) continue;
      if (std::find(later, begun.end(), sector[0]) != begun.end()) continue;
      ADD_FAILURE() << "sector " << first + i << " is " << static_cast<int>(sector[0]);
      return;
    }
  }
  // No request is under way, and the disk shows these values.
  void settle(const Bytes& values) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < sectors_.size(); ++i) {
      EXPECT_EQ(std::ranges::count(sectors_[i].settled, values[i]) > 0, true) << "sector " << i;
      sectors_[i].settled = {values[i]};
    }
  }

 private:
  struct Sector {
    std::vector<std::byte> settled = {std::byte{0}};
    std::vector<std::byte> group;  // of writes that overlap in time
    std::size_t writers = 0;
    std::vector<std::byte> begun;  // all values, in the order in which their writes began
  };
  std::mutex mutex_;
  std::vector<Sector> sectors_;
};

// Lets clients wait while the moment of a snapshot is taken, as the gates of a graph do.
class Barrier {
 public:
  // For a request of a client.
  aio::Task<void> enter() {
    while (true) {
      ++inside_;
      if (!is_closed_) co_return;
      --inside_;
      co_await aio::next_turn();
    }
  }
  void leave() { --inside_; }
  aio::Task<void> close() {
    is_closed_ = true;
    while (inside_ != 0) co_await aio::next_turn();
  }
  void open() { is_closed_ = false; }

 private:
  std::atomic<bool> is_closed_ = false;
  std::atomic<int> inside_ = 0;
};

class Client {
 public:
  Client(OpenedImage& image, SharedModel& model, Barrier& barrier, std::uint64_t cluster_sectors, std::uint64_t seed)
      : image_(image), model_(model), barrier_(barrier), cluster_sectors_(cluster_sectors), random_(seed) {}

  aio::Task<void> run() {
    for (int i = 0; i < kRequests && !testing::Test::HasFailure(); ++i) {
      co_await barrier_.enter();
      co_await request();
      barrier_.leave();
      for (std::uint64_t turns = random_() % 20; turns > 0; --turns) co_await aio::next_turn();
    }
    ended = true;
  }
  std::atomic<bool> ended = false;

 private:
  aio::Task<void> request() {
    const std::uint64_t first = random_() % model_.size();
    const std::uint64_t count = 1 + random_() % std::min<std::uint64_t>(model_.size() - first, 3 * cluster_sectors_);
    switch (random_() % 8) {
      case 0:
        EXPECT_TRUE(co_await image_.disk().flush());
        co_return;
      case 1:
      case 2:
        co_return co_await read(first, count);
      case 3:
        co_return co_await clear(first, count, true);
      case 4:
        co_return co_await clear(first, count, false);
      default:
        co_return co_await write(first, count, random_() % 4 == 0);
    }
  }
  aio::Task<void> read(std::uint64_t first, std::uint64_t count) {
    Bytes bytes(count * kSector);
    const iovec vector{bytes.data(), bytes.size()};
    const std::vector<SharedModel::Seen> seen = model_.begin_read(first, count);
    EXPECT_TRUE(co_await image_.disk().read({first * kSector, bytes.size()}, {&vector, 1}));
    model_.end_read(first, seen, bytes);
  }
  aio::Task<void> write(std::uint64_t first, std::uint64_t count, bool compressed) {
    const auto fill = static_cast<std::byte>(1 + random_() % 255);
    model_.begin_write(first, count, fill);
    EXPECT_TRUE(co_await image_.write(first, count, fill, compressed));
    model_.end_write(first, count);
  }
  // Whole clusters: a discard leaves parts of others as they are.
  aio::Task<void> clear(std::uint64_t first, std::uint64_t count, bool discards) {
    first -= first % cluster_sectors_;
    count = (count + cluster_sectors_ - 1) / cluster_sectors_ * cluster_sectors_;
    count = std::min(count, model_.size() - first);
    const Range range{first * kSector, count * kSector};
    model_.begin_write(first, count, std::byte{0});
    const IoResult done = discards ? co_await image_.disk().discard(range)
                                   : co_await image_.disk().write_zeroes(range, {.may_unmap = random_() % 2 == 0});
    EXPECT_TRUE(done);
    model_.end_write(first, count);
  }

  OpenedImage& image_;
  SharedModel& model_;
  Barrier& barrier_;
  std::uint64_t cluster_sectors_;
  std::mt19937_64 random_;
};

// Takes, gives up, deletes and lists snapshots on the control reactor.
class Taker {
 public:
  Taker(OpenedImage& image, SharedModel& model, Barrier& barrier, std::uint64_t seed)
      : image_(image), model_(model), barrier_(barrier), random_(seed) {}

  std::map<std::string, Bytes> contents;  // of the snapshots that the image has
  std::uint64_t changes = 0;

  aio::Task<void> step() {
    if (contents.size() == kSnapshotsKeptMax || (!contents.empty() && random_() % 3 == 0)) {
      co_await remove();
    } else {
      co_await take();
    }
    ++changes;
    std::set<std::string> expected;
    for (const auto& [id, content] : contents) expected.insert(id);
    EXPECT_EQ(image_.ids(), expected);
    for (std::uint64_t turns = random_() % 200; turns > 0; --turns) co_await aio::next_turn();
  }

 private:
  aio::Task<void> take() {
    co_await barrier_.close();
    const Result<std::string> begun = co_await image_.snapshots().begin({.name = "a name"});
    EXPECT_TRUE(begun) << begun.error().message();
    const Bytes content = co_await image_.sectors();
    model_.settle(content);
    barrier_.open();
    if (!begun) co_return;
    const bool cancels = random_() % 4 == 0;
    // A snapshot is given up before its end only when that failed, or before it.
    const Result<> done =
        cancels ? co_await image_.snapshots().cancel(*begun) : co_await image_.snapshots().finish(*begun);
    EXPECT_TRUE(done) << done.error().message();
    if (!cancels) contents[*begun] = content;
  }
  aio::Task<void> remove() {
    const auto any = std::next(contents.begin(), static_cast<std::ptrdiff_t>(random_() % contents.size()));
    const Result<> done = co_await image_.snapshots().remove(any->first);
    EXPECT_TRUE(done) << done.error().message();
    contents.erase(any);
  }

  OpenedImage& image_;
  SharedModel& model_;
  Barrier& barrier_;
  std::mt19937_64 random_;
};

struct Outcome {
  Bytes disk;
  std::map<std::string, Bytes> snapshots;
  std::uint64_t changes = 0;
};

aio::Task<void> run_clients(block::Reactors& reactors, RecordingState& file, Variant variant, std::uint64_t seed,
                            Outcome& outcome) {
  const std::uint64_t cluster_sectors = variant.geometry.cluster_bytes() / kSector;
  // One table in each step, or all.
  OpenedImage image(file, seed % 3 == 0 ? kSnapshotStepBytesMax : 1);
  EXPECT_TRUE(co_await image.open());
  SharedModel model(variant.clusters * cluster_sectors);
  Barrier barrier;
  std::vector<std::unique_ptr<Client>> clients;
  aio::Scope scope(reactors.control());
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<Client>(image, model, barrier, cluster_sectors, seed * kClients + i));
    scope.spawn("client", aio::run_on(reactors.place(i % kReactors), "client", clients[i]->run()));
  }
  Taker taker(image, model, barrier, seed);
  const auto is_running = [](const auto& one) { return !one->ended.load(); };
  while (std::ranges::any_of(clients, is_running) && !testing::Test::HasFailure()) co_await taker.step();
  co_await scope.join();
  outcome.disk = co_await image.sectors();
  model.settle(outcome.disk);
  outcome.snapshots = taker.contents;
  outcome.changes = taker.changes;
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(co_await image.disk().flush());
  const CheckReport report = co_await check(image);
  EXPECT_EQ(report.leaks, 0u);
}

// The disk and each snapshot, as another process would find them.
aio::Task<void> verify(const Bytes& bytes, const Outcome& outcome) {
  RecordingState disk;
  disk.begin(bytes);
  {
    OpenedImage image(disk);
    EXPECT_TRUE(co_await image.open());
    EXPECT_EQ(co_await image.sectors(), outcome.disk);
  }
  for (const auto& [id, content] : outcome.snapshots) {
    RecordingState copy;
    copy.begin(bytes);
    OpenedImage image(copy);
    EXPECT_TRUE(co_await image.open());
    const Result<> applied = co_await image.snapshots().apply(id);
    EXPECT_TRUE(applied) << applied.error().message();
    EXPECT_EQ(co_await image.sectors(), content) << "of snapshot " << id;
    const CheckReport report = co_await check(image);
    EXPECT_EQ(report.leaks, 0u);
  }
}

// The number of seeds: fewer where each takes longer.
std::uint64_t seeds() {
  if (!block::Reactors::are_simulated()) return 8;
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 5'000 : aio::testing::seeds_here(40);
}

TEST(Qcow2SnapshotsReactorsTest, SnapshotsAndClientsOfTheSameSectorsShowTheirBytes) {
  std::uint64_t changes = 0;
  for (std::uint64_t seed = 0; seed < seeds() && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    const Variant variant = variant_of(seed);
    RecordingState file;
    file.begin(make_image(variant.geometry, variant.clusters << variant.geometry.cluster_bits));
    std::mt19937_64 turns(seed);
    if (block::Reactors::are_simulated()) file.turns = &turns;
    Outcome outcome;
    {
      block::Reactors reactors(kReactors, seed);
      reactors.run(run_clients(reactors, file, variant, seed, outcome));
      file.turns = nullptr;
      if (!testing::Test::HasFailure()) reactors.run(verify(file.bytes, outcome));
    }
    changes += outcome.changes;
  }
  EXPECT_GT(changes, seeds());
  testing::Test::RecordProperty("count", std::to_string(seeds()));
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
