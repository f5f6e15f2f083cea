// Bitmap stores of nodes: random changes of the graph, with faults of the store's disk, and kills and power cuts at
// random moments of each change. Each leaves a store that has at least the bitmaps and bits of before the change, or
// those of after it; a failed change leaves the bitmaps in memory as they were; and a node that is removed and added
// again has them.
//
// With BLOCKEXPORT_THOROUGH in the environment it runs many more seeds. A failure names its seed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/interleaving.h"
#include "aio/testing/seeds.h"
#include "block/graph.h"
#include "block/node_store.h"
#include "block/testing/reactors.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::block {
namespace {

constexpr const char* kStore = "/store";
constexpr const char* kKilled = "/killed";
constexpr std::uint64_t kBytes = 8u << 20;
constexpr std::uint32_t kGranularity = 64u << 10;

std::uint64_t seeds() {
  return std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 2'000 : aio::testing::seeds_here(40);
}

// The image of a test, which outlives the drivers.
struct Image {
  std::uint64_t size_bytes = kBytes;
  std::string identity = "disk";
  std::uint64_t writes = 0;
  bool resize_fails = false;
  bool changes_when_locked = false;  // by another program, just before it cannot any more
  bool is_shared_with_writers = true;
};

// An image that has no bytes, and counts its changes.
class ImageDriver final : public Driver {
 public:
  explicit ImageDriver(Image& image) : image_(image) {}

  aio::Task<IoResult> read(Range, IoBuffers) override { co_return IoResult(); }
  aio::Task<IoResult> write(Range range, IoBuffers, WriteOptions options) override {
    if (options.may_grow) image_.size_bytes = std::max(image_.size_bytes, range.end());
    co_return change();
  }
  aio::Task<IoResult> write_zeroes(Range, ZeroOptions) override { co_return change(); }
  aio::Task<IoResult> discard(Range) override { co_return change(); }
  aio::Task<IoResult> flush() override { co_return IoResult(); }
  aio::Task<IoResult> extents(Range, Extents&) override { co_return IoResult(); }
  aio::Task<IoResult> prefetch(Range) override { co_return IoResult(); }
  bool can_grow() const override { return true; }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override {
    image_.size_bytes = std::max(image_.size_bytes, size_bytes);
    co_return change();
  }
  std::uint64_t size_bytes() const override { return image_.size_bytes; }
  Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "null-co"; }
  aio::Task<Result<ImageIdentity>> identify() override {
    co_return ImageIdentity{.identity = image_.identity, .generation = fmt::format("{}", image_.writes)};
  }
  aio::Task<Result<>> set_permissions(Permissions permissions) override {
    if (image_.changes_when_locked) image_.writes++;
    image_.is_shared_with_writers = permissions.shared.has(Permission::kWrite);
    co_return Result<>();
  }
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override {
    if (image_.resize_fails) co_return fail("the image cannot be resized");
    image_.size_bytes = size_bytes;
    image_.writes++;
    co_return Result<>();
  }
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions&, const schema::BlockdevOptions&, NodeOptions&,
                                     ReopenChildren&) override {
    co_return Result<>();
  }

 private:
  IoResult change() {
    image_.writes++;
    return {};
  }
  Image& image_;
};

struct ImageDrivers final : DriverTable {
  aio::Task<Result<std::unique_ptr<Driver>>> open(const schema::BlockdevOptions&, const NodeOptions&,
                                                  ChildOpener&) override {
    aio::Reactor& reactor = co_await aio::current_reactor();
    (void)co_await reactor.sleep_until(reactor.now_ns() + opening_ns);
    co_return std::make_unique<ImageDriver>(image);
  }
  Image image;
  std::uint64_t opening_ns = 0;
};

schema::BlockdevOptions options_of(bool with_store = true) {
  json::Object members{{"driver", "null-co"}, {"node-name", "disk"}, {"discard", "unmap"}};
  if (with_store) {
    members.set("bitmap-store", json::Object{{"filename", kStore}, {"checkpoint-interval-seconds", 1}});
  }
  auto decoded = schema::decode<schema::BlockdevOptions>(json::Value(std::move(members)));
  if (!decoded) std::abort();
  return *decoded;
}

struct Contents {
  std::unique_ptr<DirtyBits> bits;
  bool is_enabled = false;
  bool is_persistent = false;
};
using Bitmaps = std::map<std::string, Contents>;

std::unique_ptr<DirtyBits> copy_of(const DirtyBits& bits) {
  auto copy = bits.copy();
  if (!copy) std::abort();
  return std::move(*copy);
}

std::string text_of(const Bitmaps& bitmaps, bool only_persistent = false) {
  std::string text;
  for (const auto& [name, one] : bitmaps) {
    if (only_persistent && !one.is_persistent) continue;
    text +=
        fmt::format("{} {} enabled={} persistent={}:", name, one.bits->size_bytes(), one.is_enabled, one.is_persistent);
    std::uint64_t offset = 0;
    while (std::optional<Range> run = one.bits->next_dirty({offset, one.bits->size_bytes() - offset})) {
      text += fmt::format(" {}+{}", run->offset / kGranularity, run->length / kGranularity);
      offset = run->end();
    }
    text += "\n";
  }
  return text;
}

bool covers(const DirtyBits& all, const DirtyBits& some) {
  std::uint64_t offset = 0;
  while (std::optional<Range> run = some.next_dirty({offset, some.size_bytes() - offset})) {
    if (all.find_clean(*run) != run->end()) return false;
    offset = run->end();
  }
  return true;
}

// The difference when the first lacks something of the persistent bitmaps of the second; else an empty text.
std::string lack_of(const Bitmaps& stored, const Bitmaps& wanted) {
  for (const auto& [name, one] : wanted) {
    if (!one.is_persistent) continue;
    const auto found = stored.find(name);
    if (found == stored.end()) return fmt::format("'{}' is not there", name);
    if (one.is_enabled && !found->second.is_enabled) return fmt::format("'{}' is disabled", name);
    if (!covers(*found->second.bits, *one.bits)) return fmt::format("'{}' has clean blocks", name);
  }
  return {};
}

class Course {
 public:
  explicit Course(std::uint64_t seed)
      : world_(2, {.seed = seed, .latency_max_ns = 20'000'000}),
        random_(seed * 7919),
        graph_(world_.control(), drivers_, trace_) {
    simulation().make_file("/", 0);
  }

  void run() {
    world_.run(all_changes());
    EXPECT_TRUE(graph_.nodes().empty());
  }

  std::uint64_t kills = 0;
  std::uint64_t failures = 0;
  std::uint64_t successes = 0;
  std::uint64_t losses = 0;  // stores that became inconsistent

 private:
  aio::Simulation& simulation() { return world_.simulation(); }
  using Bytes = std::vector<std::byte>;
  struct Killed {
    Bytes content;
    std::uint64_t image_bytes;
  };
  // The content after a kill at this moment, and after a power cut.
  Bytes content() { return simulation().read_file(kStore).value_or(Bytes()); }
  Bytes stable_content() { return simulation().stable_content(kStore).value_or(Bytes()); }
  Node& disk() { return *graph_.find("disk"); }
  aio::Task<void> pause(std::uint64_t ns_max) {
    aio::Reactor& here = co_await aio::current_reactor();
    (void)co_await here.sleep_until(here.now_ns() + random_.below(ns_max));
  }
  aio::Task<std::string> apply(std::vector<GraphStep> steps) {
    const Result<> result = co_await graph_.apply(std::move(steps));
    co_return result ? "" : result.error().message();
  }
  template <class Step>
  aio::Task<std::string> apply_one(Step step) {
    std::vector<GraphStep> steps;
    steps.emplace_back(std::move(step));
    return apply(std::move(steps));
  }

  aio::Task<void> all_changes() {
    EXPECT_EQ(co_await apply_one(AddNode{options_of()}), "");
    for (int change = 0; change < 30 && !testing::Test::HasFailure(); change++) {
      co_await write_a_little();
      // Simulated time, so that some changes come soon after a checkpoint.
      if (random_.one_in(3)) co_await pause(3'000'000'000);
      co_await make_change();
      if (random_.one_in(3)) co_await add_again();
    }
    co_await graph_.close();
  }

  aio::Task<void> write_a_little() {
    for (std::uint64_t writes = random_.below(4); writes > 0; writes--) {
      const std::uint64_t length = random_.between(1, 200'000);
      const Range range{random_.below(disk().size_bytes() - length), length};
      // The driver looks at no byte.
      std::vector<std::byte> bytes(length);
      const iovec vector{bytes.data(), bytes.size()};
      EXPECT_TRUE((co_await disk().write(range, {&vector, 1}, {})).has_value());
    }
    if (random_.one_in(10)) EXPECT_TRUE((co_await disk().grow(disk().size_bytes() + kGranularity)).has_value());
  }

  Bitmaps bitmaps() {
    Bitmaps all;
    for (const auto& one : disk().bitmaps().list().all()) {
      all.emplace(one->name(), Contents{copy_of(one->bits()), one->is_enabled(), one->is_persistent()});
    }
    return all;
  }

  std::string some_name() { return std::string(1, static_cast<char>('a' + random_.below(5))); }
  BitmapName some_bitmap() { return {"disk", some_name()}; }
  GraphStep some_step() {
    switch (random_.below(8)) {
      case 0:
      case 1:
        return AddBitmap{.bitmap = some_bitmap(),
                         .granularity_bytes = kGranularity,
                         .persistent = !random_.one_in(4),
                         .enabled = !random_.one_in(3)};
      case 2:
        return RemoveBitmap{some_bitmap()};
      case 3:
        return ClearBitmap{some_bitmap()};
      case 4:
        return EnableBitmap{some_bitmap()};
      case 5:
        return DisableBitmap{some_bitmap()};
      case 6:
        return MergeBitmaps{.target = some_bitmap(), .sources = {some_bitmap()}};
      default:
        return FailChange{"on purpose"};
    }
  }

  aio::Task<void> make_change() {
    // Any step adopts the growth by requests, even a step of a change that fails.
    EXPECT_EQ(co_await apply_one(ResizeBitmaps{}), "");
    std::vector<GraphStep> steps;
    const bool resizes = random_.one_in(8);
    if (resizes) {
      drivers_.image.resize_fails = random_.one_in(3);
      steps.emplace_back(ResizeNode{"disk", static_cast<std::int64_t>(random_.between(kBytes / 2, 2 * kBytes))});
    } else {
      for (std::uint64_t left = random_.between(1, 4); left > 0; left--) steps.push_back(some_step());
    }
    if (random_.one_in(3)) {
      simulation().inject({.kind = {},
                           .error = ENOSPC,
                           .after = random_.below(20),
                           .count = random_.one_in(3) ? 100u : 1u,
                           .path = kStore});
    }
    const Bitmaps before = bitmaps();
    is_over_ = false;
    aio::Scope scope(world_.control());
    scope.spawn("kill", kill_meanwhile());
    const std::string error = co_await apply(std::move(steps));
    is_over_ = true;
    co_await scope.join();
    simulation().clear_faults();
    const Bitmaps after = bitmaps();
    error.empty() ? successes++ : failures++;
    if (!error.empty()) EXPECT_EQ(text_of(before), text_of(after)) << error;
    const std::vector<Killed> killed = std::exchange(killed_, {});
    for (const Killed& one : killed) co_await check_kill(one, before, after);
    co_await check_kill({content(), drivers_.image.size_bytes}, after, after);
    co_await check_kill({stable_content(), drivers_.image.size_bytes}, after, after);
  }

  // Keeps what kills at a few moments leave.
  aio::Task<void> kill_meanwhile() {
    while (!is_over_ && killed_.size() < 8) {
      co_await pause(60'000'000);
      if (is_over_) co_return;
      killed_.push_back({random_.one_in(2) ? content() : stable_content(), drivers_.image.size_bytes});
    }
  }

  aio::Task<void> check_kill(const Killed& killed, const Bitmaps& before, const Bitmaps& after) {
    kills++;
    simulation().write_file(kKilled, killed.content);
    auto store = co_await BitmapStore::open(
        world_.control(), kKilled,
        {.identity = "disk", .size_bytes = killed.image_bytes, .generation = "of another moment"});
    // Emptied because it could not record changes.
    if (!store && killed.content.empty()) co_return;
    EXPECT_TRUE(store || is_clean(killed.content)) << store.error().message();
    if (!store || (*store)->is_inconsistent()) co_return;
    Bitmaps stored;
    const std::vector<StoredBitmap> list = (*store)->bitmaps();
    for (const StoredBitmap& one : list) {
      auto bits = DirtyBits::create((*store)->image_bytes(), one.granularity_bytes);
      if (!bits) std::abort();
      EXPECT_TRUE(co_await (*store)->load(one.name, **bits));
      stored.emplace(one.name, Contents{std::move(*bits), one.is_enabled, true});
    }
    const std::string lacks_before = lack_of(stored, before);
    const std::string lacks_after = lack_of(stored, after);
    EXPECT_TRUE(lacks_before.empty() || lacks_after.empty()) << lacks_before << "; " << lacks_after << "\nbefore\n"
                                                             << text_of(before) << "after\n"
                                                             << text_of(after) << "stored\n"
                                                             << text_of(stored);
  }
  // A clean store is of the generation that it names, which is no other.
  static bool is_clean(const Bytes& content) {
    std::optional<StoreSuperblock> current;
    for (std::size_t offset : {std::size_t{0}, std::size_t{kStorePageBytes}}) {
      const auto bytes = std::span(content).subspan(offset).first<kStoreSectorBytes>();
      auto decoded = decode_superblock(bytes);
      if (decoded && (!current || decoded->sequence > current->sequence)) current = std::move(*decoded);
    }
    return current && current->state == StoreState::kClean;
  }

  // Removes the node and adds it, or closes its store and opens it.
  aio::Task<void> add_again() {
    EXPECT_EQ(co_await apply_one(ResizeBitmaps{}), "");
    const Bitmaps before = bitmaps();
    const bool was_lost = content().empty();
    if (random_.one_in(2)) {
      EXPECT_EQ(co_await apply_one(ReopenNodes{{options_of(false)}}), "");
      std::vector<GraphStep> steps;
      for (const auto& [name, one] : bitmaps()) steps.emplace_back(RemoveBitmap{{"disk", name}});
      EXPECT_EQ(co_await apply(std::move(steps)), "");
      if (was_lost) simulation().write_file(kStore, Bytes(kStoreHeadBytes));
      EXPECT_EQ(co_await apply_one(ReopenNodes{{options_of()}}), "");
    } else {
      EXPECT_EQ(co_await apply_one(RemoveNode{"disk"}), "");
      if (was_lost) simulation().write_file(kStore, Bytes(kStoreHeadBytes));
      EXPECT_EQ(co_await apply_one(AddNode{options_of()}), "");
    }
    if (testing::Test::HasFailure()) co_return;
    if (was_lost) co_return;
    std::vector<GraphStep> steps;
    for (const auto& one : disk().bitmaps().list().all()) {
      if (one->is_inconsistent()) steps.emplace_back(RemoveBitmap{{"disk", one->name()}});
    }
    if (steps.empty()) {
      EXPECT_EQ(text_of(before, true), text_of(bitmaps()));
      co_return;
    }
    losses++;
    EXPECT_EQ(steps.size(), disk().bitmaps().list().all().size());
    EXPECT_EQ(co_await apply(std::move(steps)), "");
  }

  aio::testing::Interleaving world_;
  aio::Random random_;
  ImageDrivers drivers_;
  Trace trace_;
  Graph graph_;
  bool is_over_ = false;
  std::vector<Killed> killed_;
};

TEST(GraphStoresTest, StoreAndMemoryAgreeAfterEveryChangeAndEveryKill) {
  if (!Reactors::are_simulated()) GTEST_SKIP() << "the test is entirely simulated";
  std::uint64_t kills = 0;
  std::uint64_t failures = 0;
  std::uint64_t successes = 0;
  std::uint64_t losses = 0;
  for (std::uint64_t seed = 1; seed <= seeds() && !testing::Test::HasFailure(); seed++) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Course course(seed);
    course.run();
    kills += course.kills;
    failures += course.failures;
    successes += course.successes;
    losses += course.losses;
  }
  // All of it happened.
  EXPECT_GT(kills, 30 * seeds());
  EXPECT_GT(failures, 5 * seeds());
  EXPECT_GT(successes, 2 * seeds());
  EXPECT_GT(losses, 0u);
}

// A node with a store on a simulated disk.
class NodeStoreTest : public testing::Test {
 protected:
  NodeStoreTest() : world_(2, {.seed = 1}), graph_(world_.control(), drivers_, trace_) {
    world_.simulation().make_file("/", 0);
  }
  ~NodeStoreTest() override { world_.run(graph_.close()); }
  template <class... Steps>
  std::string apply(Steps... steps) {
    std::vector<GraphStep> list;
    (list.emplace_back(std::move(steps)), ...);
    std::string error;
    world_.run(apply_to(graph_, std::move(list), error));
    return error;
  }
  static aio::Task<void> apply_to(Graph& graph, std::vector<GraphStep> steps, std::string& error) {
    const Result<> result = co_await graph.apply(std::move(steps));
    if (!result) error = result.error().message();
  }
  // With the persistent bitmap "b".
  void add_disk() {
    ASSERT_EQ(apply(AddNode{options_of()}), "");
    ASSERT_EQ(apply(AddBitmap{.bitmap = {"disk", "b"}, .granularity_bytes = kGranularity, .persistent = true}), "");
  }
  void write(Range range) { world_.run(write_to(*graph_.find("disk"), range)); }
  static aio::Task<void> write_to(Node& node, Range range) {
    std::vector<std::byte> bytes(range.length);
    const iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE((co_await node.write(range, {&vector, 1}, {})).has_value());
  }
  void pass(std::uint64_t seconds) { world_.run(sleep(seconds)); }
  static aio::Task<void> sleep(std::uint64_t seconds) {
    aio::Reactor& reactor = co_await aio::current_reactor();
    (void)co_await reactor.sleep_until(reactor.now_ns() + seconds * 1'000'000'000);
  }
  // Dirty bytes of "b" in a store with this content.
  std::uint64_t dirty_bytes_in(const std::vector<std::byte>& content) {
    world_.simulation().write_file(kKilled, content);
    std::uint64_t dirty_bytes = 0;
    world_.run(load_killed(world_.control(), dirty_bytes));
    return dirty_bytes;
  }
  static aio::Task<void> load_killed(aio::Reactor& control, std::uint64_t& dirty_bytes) {
    auto store =
        co_await BitmapStore::open(control, kKilled, {.identity = "disk", .size_bytes = kBytes, .generation = ""});
    auto bits = DirtyBits::create(kBytes, kGranularity);
    if (!store || !bits) std::abort();
    EXPECT_TRUE(co_await (*store)->load("b", **bits));
    dirty_bytes = (*bits)->dirty_bytes();
  }
  // True if "b" is enabled in a store with this content.
  bool is_enabled_in(const std::vector<std::byte>& content) {
    world_.simulation().write_file(kKilled, content);
    bool is_enabled = false;
    world_.run(look_at_killed(world_.control(), is_enabled));
    return is_enabled;
  }
  static aio::Task<void> look_at_killed(aio::Reactor& control, bool& is_enabled) {
    auto store =
        co_await BitmapStore::open(control, kKilled, {.identity = "disk", .size_bytes = kBytes, .generation = ""});
    if (!store || (*store)->bitmaps().size() != 1) std::abort();
    is_enabled = (*store)->bitmaps().front().is_enabled;
  }
  static aio::Task<void> keep_content(aio::Simulation& simulation, std::vector<std::byte>& content) {
    co_await sleep(5);
    content = simulation.read_file(kStore).value_or(std::vector<std::byte>());
  }

  aio::testing::Interleaving world_;
  ImageDrivers drivers_;
  Trace trace_;
  Graph graph_;
};

TEST_F(NodeStoreTest, AnImageThatChangesBeforeItIsLockedIsRefused) {
  drivers_.image.changes_when_locked = true;
  EXPECT_EQ(apply(AddNode{options_of()}),
            "Bitmap store '/store' cannot be used: the image was changed while it was opened");
  EXPECT_TRUE(graph_.nodes().empty());
  drivers_.image.changes_when_locked = false;
  EXPECT_EQ(apply(AddNode{options_of()}), "");
}

// A step that takes long gives the regular checkpoints time to store what an earlier step did.
TEST_F(NodeStoreTest, NoCheckpointStoresWhatAChangeMayStillUndo) {
  add_disk();
  write({0, 1});
  pass(10);
  drivers_.opening_ns = 10'000'000'000;
  schema::BlockdevOptions second = options_of(false);
  second.node_name = "second";
  std::vector<std::byte> content;
  aio::Scope scope(world_.control());
  scope.spawn("kill", keep_content(world_.simulation(), content));
  EXPECT_EQ(apply(ClearBitmap{{"disk", "b"}}, AddNode{second}, FailChange{"on purpose"}), "on purpose");
  ASSERT_EQ(scope.size(), 0u);
  EXPECT_EQ(dirty_bytes_in(content), kGranularity);
}

TEST_F(NodeStoreTest, AMergeIsStoredBeforeItSucceeds) {
  add_disk();
  ASSERT_EQ(apply(AddBitmap{.bitmap = {"disk", "t"}, .granularity_bytes = kGranularity}), "");
  write({0, 1});
  ASSERT_EQ(apply(ClearBitmap{{"disk", "b"}}), "");
  pass(10);
  EXPECT_EQ(dirty_bytes_in(*world_.simulation().read_file(kStore)), 0u);
  EXPECT_EQ(apply(MergeBitmaps{.target = {"disk", "b"}, .sources = {{"disk", "t"}}}), "");
  EXPECT_EQ(dirty_bytes_in(*world_.simulation().read_file(kStore)), kGranularity);
}

TEST_F(NodeStoreTest, TheLastStepOfAChangeDecidesIfTheStoredBitmapIsEnabled) {
  add_disk();
  const BitmapName b{"disk", "b"};
  EXPECT_EQ(apply(DisableBitmap{b}, EnableBitmap{b}), "");
  EXPECT_TRUE(is_enabled_in(*world_.simulation().read_file(kStore)));
  EXPECT_EQ(apply(DisableBitmap{b}, EnableBitmap{b}, DisableBitmap{b}), "");
  EXPECT_FALSE(is_enabled_in(*world_.simulation().read_file(kStore)));
  EXPECT_EQ(apply(EnableBitmap{b}, DisableBitmap{b}, EnableBitmap{b}), "");
  EXPECT_TRUE(is_enabled_in(*world_.simulation().read_file(kStore)));
}

TEST_F(NodeStoreTest, NoOtherProgramMayWriteTheImageWhileTheNodeHasTheStore) {
  EXPECT_EQ(apply(AddNode{options_of(false)}), "");
  EXPECT_TRUE(drivers_.image.is_shared_with_writers);
  EXPECT_EQ(apply(ReopenNodes{{options_of()}}), "");
  EXPECT_FALSE(drivers_.image.is_shared_with_writers);
  EXPECT_EQ(apply(ReopenNodes{{options_of(false)}}), "");
  EXPECT_TRUE(drivers_.image.is_shared_with_writers);
}

TEST_F(NodeStoreTest, ANodeThatShowsAnotherImageLosesItsStore) {
  add_disk();
  drivers_.image.identity = "another";
  EXPECT_EQ(apply(ReopenNodes{{options_of()}}), "");
  drivers_.image.identity = "disk";
  EXPECT_EQ(apply(RemoveNode{"disk"}), "");
  EXPECT_EQ(apply(AddNode{options_of()}), "");
  EXPECT_TRUE(graph_.find("disk")->bitmaps().list().find("b")->is_inconsistent());
}

TEST_F(NodeStoreTest, ABitmapInUseKeepsItsStore) {
  add_disk();
  DirtyBitmap* bitmap = graph_.find("disk")->bitmaps().list().find("b");
  bitmap->set_busy(true);
  EXPECT_EQ(apply(ReopenNodes{{options_of(false)}}),
            "Bitmap 'b' is currently in use by another operation and cannot be used");
  bitmap->set_busy(false);
  EXPECT_EQ(graph_.find("disk")->bitmaps().list().find("b"), bitmap);
  EXPECT_EQ(apply(ReopenNodes{{options_of(false)}}), "");
  EXPECT_EQ(graph_.find("disk")->bitmaps().list().find("b"), nullptr);
}

}  // namespace
}  // namespace blockexport::block
