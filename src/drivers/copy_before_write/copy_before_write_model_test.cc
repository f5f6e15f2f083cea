// Points in time of a disk that four clients change on several reactors: each reader sees what the model says, with
// several filters at once, scratch space that fails or is slow, and filters that go in any order.
//
// A failure names its seed. With BLOCKEXPORT_THOROUGH in the environment it runs many more.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "aio/testing/seeds.h"
#include "block/graph.h"
#include "block/testing/filter_drivers.h"
#include "block/testing/reactors.h"
#include "drivers/copy_before_write/copy_before_write_driver.h"
#include "drivers/snapshot_access/snapshot_access_driver.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::drivers {
namespace {

using block::Edge;
using block::GraphStep;
using block::IoBuffers;
using block::Node;
using block::Permission;
using block::Permissions;
using block::PermissionSet;
using block::Range;

constexpr std::uint32_t kCluster = 512;
constexpr std::uint64_t kBytes = 16 * 1024 + 300;
constexpr std::size_t kWriters = 4;

constexpr auto kSimulatedSeeds = static_cast<int>(aio::testing::seeds_here(20));

// The disk, which knows where it has zeros.
class Disk final : public block::LiveDriver {
 public:
  aio::Task<IoResult> read(Range range, IoBuffers buffers) override { return store_.read(range, buffers); }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, block::WriteOptions options) override {
    return store_.write(range, buffers, options);
  }
  aio::Task<IoResult> write_zeroes(Range range, block::ZeroOptions options) override {
    return store_.write_zeroes(range, options);
  }
  aio::Task<IoResult> discard(Range range) override { return store_.discard(range); }
  aio::Task<IoResult> flush() override { return store_.flush(); }
  aio::Task<IoResult> extents(Range range, block::Extents& extents) override {
    co_await aio::next_turn();
    store_.append_runs(range, extents);
    co_return IoResult();
  }
  aio::Task<IoResult> prefetch(Range range) override { return store_.prefetch(range); }
  IoResult try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) override {
    return store_.try_read(reactor, range, buffers, hints);
  }
  IoResult try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) override {
    return store_.try_write(reactor, range, buffers, hints);
  }
  aio::Task<void> quiesce() override { return store_.quiesce(); }
  void resume() override { store_.resume(); }
  std::uint64_t size_bytes() const override { return kBytes; }
  block::Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "disk"; }

  // While nothing is under way.
  std::span<const std::byte> bytes() const { return store_.bytes(); }

 private:
  block::Store store_{kBytes};
};

// Scratch space. It counts how often each cluster is written; one that is `bad` is slow, and fails now and then.
class Scratch final : public block::Driver {
 public:
  Scratch(bool bad, std::uint64_t seed) : is_bad_(bad), store_(kBytes), random_(seed), writes_(kBytes / kCluster + 1) {}
  ~Scratch() override {
    for (const auto& count : writes_) EXPECT_LE(count.load(), 1u) << "a cluster was copied twice";
  }

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override { return store_.read(range, buffers); }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, block::WriteOptions options) override {
    CO_TRY(co_await misbehave());
    CO_TRY(co_await store_.write(range, buffers, options));
    count(range);
    co_return IoResult();
  }
  aio::Task<IoResult> write_zeroes(Range range, block::ZeroOptions options) override {
    CO_TRY(co_await misbehave());
    CO_TRY(co_await store_.write_zeroes(range, options));
    count(range);
    co_return IoResult();
  }
  aio::Task<IoResult> discard(Range range) override { return store_.discard(range); }
  aio::Task<IoResult> flush() override { co_return IoResult(); }
  aio::Task<IoResult> extents(Range range, block::Extents& extents) override {
    store_.append_runs(range, extents);
    co_return IoResult();
  }
  aio::Task<IoResult> prefetch(Range) override { co_return IoResult(); }
  aio::Task<void> quiesce() override { return store_.quiesce(); }
  void resume() override { store_.resume(); }
  std::uint64_t size_bytes() const override { return kBytes; }
  block::Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "scratch"; }

 private:
  aio::Task<IoResult> misbehave() {
    if (!is_bad_) co_return IoResult();
    std::uint64_t drawn = 0;
    {
      std::lock_guard guard(mutex_);
      drawn = random_.next();
    }
    aio::Reactor& reactor = co_await aio::current_reactor();
    if (drawn % 4 == 0) (void)co_await reactor.sleep_until(reactor.now_ns() + drawn / 16 % 400'000);
    if (drawn / 4 % 4 == 0) co_return fail(ENOSPC);
    co_return IoResult();
  }
  void count(Range range) {
    EXPECT_EQ(range.offset % kCluster, 0u);
    for (std::uint64_t i = range.offset / kCluster; i * kCluster < range.end(); ++i) ++writes_[i];
  }

  bool is_bad_;
  block::Store store_;
  std::mutex mutex_;
  aio::Random random_;
  std::vector<std::atomic<std::uint32_t>> writes_;
};

// The name of a filter describes it: "time" has a short limit on the time of copies, "bad" scratch space that fails.
bool is_bad(std::string_view name) {
  return name.contains("bad");
}

// Outlives the graph.
struct FreezingDrivers final : block::DriverTable {
  explicit FreezingDrivers(std::uint64_t seed_of_all) : seed(seed_of_all) {}

  aio::Task<Result<std::unique_ptr<block::Driver>>> open(const schema::BlockdevOptions& options,
                                                         const block::NodeOptions&,
                                                         block::ChildOpener& children) override {
    using schema::BlockdevDriver;
    const std::string_view name = *options.node_name;
    if (const auto* raw = options.as_if<BlockdevDriver::kRaw>()) {
      CO_TRY_ASSIGN(auto file, co_await children.open_child(raw->file, "file", block::ChildRole::kFiltered));
      co_return std::make_unique<block::ReopenableFilter>(std::move(file));
    }
    if (const auto* cbw = options.as_if<BlockdevDriver::kCopyBeforeWrite>()) {
      CO_TRY_ASSIGN(auto file, co_await children.open_child(cbw->file, "file", block::ChildRole::kFiltered));
      CO_TRY_ASSIGN(auto target, co_await children.open_child(cbw->target, "target", block::ChildRoles()));
      CopyBeforeWriteOptions plain{.cluster_bytes = kCluster};
      if (cbw->on_cbw_error == schema::OnCbwError::kBreakSnapshot) plain.on_error = OnCopyError::kGiveUpPointInTime;
      if (name.contains("time")) plain.timeout_ns = 100'000;
      CO_TRY_ASSIGN(auto driver, CopyBeforeWriteDriver::open(plain, std::move(file), std::move(target), nullptr));
      co_return std::move(driver);
    }
    if (const auto* access = options.as_if<BlockdevDriver::kSnapshotAccess>()) {
      CO_TRY_ASSIGN(auto file, co_await children.open_child(access->file, "file", block::ChildRole::kData));
      // Nothing is under way: the filter came in the same change.
      bytes_then.assign(base->bytes().begin(), base->bytes().end());
      CO_TRY_ASSIGN(auto driver, SnapshotAccessDriver::open(std::move(file)));
      co_return std::move(driver);
    }
    if (name != "base") co_return std::make_unique<Scratch>(is_bad(name), ++seed);
    auto disk = std::make_unique<Disk>();
    base = disk.get();
    co_return disk;
  }

  std::uint64_t seed;
  Disk* base = nullptr;
  std::vector<std::byte> bytes_then;  // when the last point in time began
};

// A client that alone writes its slice, and knows what it holds.
class Writer {
 public:
  Writer(Range slice, std::uint64_t seed) : slice_(slice), random_(seed), expected_(slice.length) {}

  aio::Task<void> run() {
    while (!stop && !testing::Test::HasFailure()) {
      const std::uint64_t offset = random_.below(slice_.length);
      const Range range{slice_.offset + offset,
                        1 + random_.below(std::min<std::uint64_t>(slice_.length - offset, 1200))};
      if (!co_await edge->enter()) break;
      co_await (random_.one_in(3) ? check(range) : change(range));
      edge->leave();
      ++requests;
      if (random_.one_in(3)) co_await aio::next_turn();
    }
  }

  std::unique_ptr<Edge> edge;
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> requests = 0;
  std::atomic<std::uint64_t> failures = 0;

 private:
  std::span<std::byte> expected_part(Range range) {
    return std::span(expected_).subspan(range.offset - slice_.offset, range.length);
  }
  aio::Task<void> change(Range range) {
    const std::uint64_t kind = random_.below(6);
    const std::byte value = kind < 4 ? static_cast<std::byte>(random_.below(256)) : std::byte{0};
    std::vector<std::byte> bytes(range.length, value);
    const iovec vector{bytes.data(), bytes.size()};
    Node& node = edge->node();
    IoResult result = fail(EAGAIN);
    if (kind < 2) result = node.try_write(co_await aio::current_reactor(), range, {&vector, 1});
    if (!result && kind < 4) result = co_await node.write(range, {&vector, 1}, {});
    if (kind == 4) result = co_await node.write_zeroes(range, {});
    if (kind == 5) result = co_await node.discard(range);
    if (result) {
      std::ranges::copy(bytes, expected_part(range).begin());
    } else {
      // Only a copy can fail, and then nothing has changed.
      ++failures;
      EXPECT_TRUE(result.error() == Errno(ENOSPC) || result.error() == Errno(ETIMEDOUT)) << result.error().value();
    }
  }
  aio::Task<void> check(Range range) {
    std::vector<std::byte> got(range.length);
    const iovec vector{got.data(), got.size()};
    EXPECT_TRUE(co_await edge->node().read(range, {&vector, 1}));
    EXPECT_TRUE(std::ranges::equal(got, expected_part(range)))
        << "a writer saw other bytes than it had written, at " << range.offset;
  }

  Range slice_;
  aio::Random random_;
  std::vector<std::byte> expected_;
};

// A reader of a point in time, which knows what it has to see.
class Reader {
 public:
  Reader(std::vector<std::byte> bytes, bool may_be_lost, std::uint64_t seed)
      : expected_(std::move(bytes)), may_be_lost_(may_be_lost), random_(seed), dropped_(kBytes / kCluster + 1) {}

  aio::Task<void> run() {
    while (!stop && !testing::Test::HasFailure()) {
      if (random_.one_in(20)) {
        co_await drop();
      } else if (random_.one_in(4)) {
        co_await look();
      } else {
        co_await read();
      }
      ++requests;
      if (random_.one_in(3)) co_await aio::next_turn();
    }
  }

  std::unique_ptr<Edge> edge;
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> requests = 0;
  bool is_lost = false;

 private:
  Range some_range() {
    const std::uint64_t offset = random_.below(kBytes);
    return {offset, 1 + random_.below(std::min<std::uint64_t>(kBytes - offset, 4000))};
  }
  bool has_dropped(Range range) const {
    for (std::uint64_t i = range.offset / kCluster; i * kCluster < range.end(); ++i) {
      if (dropped_[i]) return true;
    }
    return false;
  }
  aio::Task<void> read() {
    const Range range = some_range();
    std::vector<std::byte> got(range.length);
    const iovec vector{got.data(), got.size()};
    if (!co_await edge->enter()) co_return;
    const IoResult result = co_await edge->node().read(range, {&vector, 1});
    edge->leave();
    if (!result) {
      EXPECT_EQ(result.error(), Errno(EACCES));
      if (has_dropped(range)) co_return;
      EXPECT_TRUE(may_be_lost_) << "a point in time was lost";
      is_lost = true;
      co_return;
    }
    EXPECT_FALSE(is_lost) << "a lost point in time can be read again";
    EXPECT_FALSE(has_dropped(range)) << "dropped bytes can be read";
    EXPECT_TRUE(std::ranges::equal(got, std::span(expected_).subspan(range.offset, range.length)))
        << "a reader of a point in time saw other bytes, at " << range.offset << "+" << range.length;
  }
  // Whatever it is told to be zero was zero; of the rest nothing is promised.
  aio::Task<void> look() {
    const Range range = some_range();
    block::Extents extents;
    if (!co_await edge->enter()) co_return;
    const IoResult result = co_await edge->node().extents(range, extents);
    edge->leave();
    if (!result) {
      EXPECT_EQ(result.error(), Errno(EACCES));
      EXPECT_TRUE(may_be_lost_ || has_dropped({range.offset, 1})) << "a point in time was lost";
      co_return;
    }
    std::uint64_t offset = range.offset;
    for (const block::Extent& extent : extents) {
      const std::span<const std::byte> then = std::span(expected_).subspan(offset, extent.length);
      const bool was_zero = std::ranges::all_of(then, [](std::byte one) { return one == std::byte{0}; });
      EXPECT_TRUE(!extent.zero || was_zero) << "newer zeros at " << offset << "+" << extent.length;
      offset += extent.length;
    }
    EXPECT_LE(offset, range.end());
  }
  aio::Task<void> drop() {
    const Range range{random_.below(kBytes / kCluster) * kCluster, kCluster};
    if (!co_await edge->enter()) co_return;
    EXPECT_TRUE(co_await edge->node().discard(range));
    edge->leave();
    dropped_[range.offset / kCluster] = true;
  }

  std::vector<std::byte> expected_;
  bool may_be_lost_;
  aio::Random random_;
  std::vector<bool> dropped_;
};

schema::BlockdevOptions options_of(json::Object members) {
  auto decoded = schema::decode<schema::BlockdevOptions>(json::Value(std::move(members)));
  EXPECT_TRUE(decoded);
  return *decoded;
}

class Course {
 public:
  explicit Course(std::uint64_t seed)
      : reactors_(3, seed), random_(seed * 7919), drivers_(seed), graph_(reactors_.control(), drivers_, trace_) {}

  void run(int cycles) { reactors_.run(go(cycles)); }

  std::uint64_t writes = 0;
  std::uint64_t failed_writes = 0;
  std::uint64_t reads = 0;
  std::uint64_t lost = 0;

 private:
  // A point in time while it is kept; the youngest filter is the uppermost.
  struct Frozen {
    std::string name;
    bool gives_up;
    std::unique_ptr<Reader> reader;
    std::unique_ptr<aio::Scope> reading;
  };

  aio::Task<void> go(int cycles) {
    co_await change(block::AddNode{options_of({{"driver", "null-co"}, {"node-name", "base"}, {"discard", "unmap"}})},
                    block::AddNode{options_of(top_on("base"))});
    aio::Scope writing(reactors_.control());
    for (std::size_t i = 0; i < kWriters; ++i) {
      // Slices end within a cluster, so that two writers share one.
      const std::uint64_t begin = i * kBytes / kWriters + i * 100;
      const std::uint64_t end = i + 1 == kWriters ? kBytes : (i + 1) * kBytes / kWriters + (i + 1) * 100;
      writers_.push_back(std::make_unique<Writer>(Range{begin, end - begin}, random_.next()));
      auto edge = co_await graph_.attach("top", {.name = "root"}, kUse);
      EXPECT_TRUE(edge.has_value());
      writers_.back()->edge = std::move(*edge);
      writing.spawn("writer", aio::run_on(reactors_.place(i % reactors_.size()), "writer", writers_.back()->run()));
    }
    for (int cycle = 0; cycle < cycles && !testing::Test::HasFailure(); ++cycle) {
      if (frozen_.size() < 3 && (frozen_.empty() || random_.one_in(2))) {
        co_await freeze(cycle);
      } else {
        co_await thaw(random_.below(frozen_.size()));
      }
      co_await let_them_work();
    }
    while (!frozen_.empty()) co_await thaw(random_.below(frozen_.size()));
    for (auto& writer : writers_) writer->stop = true;
    co_await writing.join();
    for (auto& writer : writers_) {
      writes += writer->requests;
      failed_writes += writer->failures;
      co_await graph_.detach(std::move(writer->edge));
    }
    co_await graph_.close();
    EXPECT_TRUE(graph_.nodes().empty());
  }

  static json::Object top_on(const std::string& file) {
    return {{"driver", "raw"}, {"node-name", "top"}, {"file", file}, {"discard", "unmap"}};
  }
  static json::Object filter(const Frozen& frozen, const std::string& file) {
    return {{"driver", "copy-before-write"},
            {"node-name", frozen.name},
            {"file", file},
            {"target", "scratch-" + frozen.name},
            {"discard", "unmap"},
            {"on-cbw-error", frozen.gives_up ? "break-snapshot" : "break-guest-write"}};
  }
  static block::ReopenNodes reopen(json::Object members) {
    block::ReopenNodes step;
    step.options.push_back(options_of(std::move(members)));
    return step;
  }
  // The node below the filter of that number; the uppermost filter is the last.
  std::string below(std::size_t index) const { return index == 0 ? "base" : frozen_[index - 1].name; }

  aio::Task<void> freeze(int cycle) {
    constexpr const char* kKinds[] = {"good", "bad", "good-time", "bad-time"};
    Frozen frozen{.name = fmt::format("{}-{}", kKinds[random_.below(std::size(kKinds))], cycle),
                  .gives_up = random_.one_in(2),
                  .reader = nullptr,
                  .reading = std::make_unique<aio::Scope>(reactors_.control())};
    const std::string& name = frozen.name;
    const std::string access = "access-" + name;
    std::unique_ptr<Edge> edge;
    co_await change(
        block::AddNode{options_of({{"driver", "null-co"}, {"node-name", "scratch-" + name}, {"discard", "unmap"}})},
        block::AddNode{options_of(filter(frozen, below(frozen_.size())))}, reopen(top_on(name)),
        block::AddNode{
            options_of({{"driver", "snapshot-access"}, {"node-name", access}, {"file", name}, {"discard", "unmap"}})},
        block::AttachEdge{access, {.name = "root"}, kUse, &edge});
    if (edge == nullptr) co_return;
    const bool may_be_lost = frozen.gives_up && (is_bad(name) || name.contains("time"));
    frozen.reader = std::make_unique<Reader>(drivers_.bytes_then, may_be_lost, random_.next());
    frozen.reader->edge = std::move(edge);
    frozen.reading->spawn(
        "reader", aio::run_on(reactors_.place(random_.below(reactors_.size())), "reader", frozen.reader->run()));
    frozen_.push_back(std::move(frozen));
  }

  // In any order: the filter above one that goes, or else the node of the writers, gets the node below it.
  aio::Task<void> thaw(std::size_t index) {
    Frozen& frozen = frozen_[index];
    frozen.reader->stop = true;
    co_await frozen.reading->join();
    reads += frozen.reader->requests;
    lost += frozen.reader->is_lost ? 1 : 0;
    const std::string file = below(index);
    json::Object above = index + 1 == frozen_.size() ? top_on(file) : filter(frozen_[index + 1], file);
    co_await change(block::DetachEdge{&frozen.reader->edge}, block::RemoveNode{"access-" + frozen.name},
                    reopen(std::move(above)), block::RemoveNode{frozen.name},
                    block::RemoveNode{"scratch-" + frozen.name});
    frozen_.erase(frozen_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  template <class... Steps>
  aio::Task<void> change(Steps... steps) {
    std::vector<GraphStep> list;
    (list.emplace_back(std::move(steps)), ...);
    const Result<> result = co_await graph_.apply(std::move(list));
    EXPECT_TRUE(result.has_value()) << result.error().message();
  }
  aio::Task<void> let_them_work() {
    aio::Reactor& control = reactors_.control();
    (void)co_await control.sleep_until(control.now_ns() + random_.below(1'000'000));
  }

  static constexpr Permissions kUse{.used = Permission::kConsistentRead | Permission::kWrite,
                                    .shared = PermissionSet::all()};

  block::Reactors reactors_;
  aio::Random random_;
  Trace trace_;
  FreezingDrivers drivers_;
  block::Graph graph_;
  std::vector<std::unique_ptr<Writer>> writers_;
  std::vector<Frozen> frozen_;
};

TEST(CopyBeforeWriteModelTest, EveryReaderSeesItsPointInTimeWhileOthersWrite) {
  const int factor = std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 50 : 1;
  const int seeds = (block::Reactors::are_simulated() ? kSimulatedSeeds : 2) * factor;
  const int cycles = block::Reactors::are_simulated() ? 40 : 200;
  std::uint64_t writes = 0;
  std::uint64_t failed_writes = 0;
  std::uint64_t reads = 0;
  std::uint64_t lost = 0;
  for (int seed = 1; seed <= seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Course course(static_cast<std::uint64_t>(seed));
    course.run(cycles);
    writes += course.writes;
    failed_writes += course.failed_writes;
    reads += course.reads;
    lost += course.lost;
  }
  std::printf("%llu requests of writers, %llu failed; %llu of readers; %llu points in time were lost\n",
              static_cast<unsigned long long>(writes), static_cast<unsigned long long>(failed_writes),
              static_cast<unsigned long long>(reads), static_cast<unsigned long long>(lost));
  EXPECT_GT(failed_writes, 0u);
  EXPECT_GT(lost, 0u);
  EXPECT_GT(reads, writes / 100);
}

}  // namespace
}  // namespace blockexport::drivers
