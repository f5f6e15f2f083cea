// Dirty bitmaps as steps of changes of the graph: each is undone exactly, nodes mark them on all paths, and with
// clients at work on several reactors a bitmap has what a listener has that came and went in the same changes.
//
// With BLOCKEXPORT_THOROUGH in the environment the runs with clients are many times as long.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "block/graph.h"
#include "block/testing/filter_drivers.h"
#include "block/testing/reactor_test.h"
#include "block/testing/reactors.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::block {
namespace {

constexpr std::uint64_t kBytes = 64u << 10;

// A filter with a further child, which is not resized with it.
class TwoChildren final : public Filter {
 public:
  TwoChildren(std::unique_ptr<Edge> file, std::unique_ptr<Edge> second)
      : Filter(std::move(file)), second_(std::move(second)) {}

  aio::Task<Result<>> resize(std::uint64_t size_bytes) override { return file().resize(size_bytes); }
  std::vector<Edge*> children() const override {
    std::vector<Edge*> all = Filter::children();
    all.push_back(second_.get());
    return all;
  }

 private:
  std::unique_ptr<Edge> second_;
};

// null-co is a store of its size, raw a filter, copy-before-write one with two children. Outlives the graph.
struct StoreDrivers final : DriverTable {
  aio::Task<Result<std::unique_ptr<Driver>>> open(const schema::BlockdevOptions& options, const NodeOptions&,
                                                  ChildOpener& children) override {
    if (const auto* both = options.as_if<schema::BlockdevDriver::kCopyBeforeWrite>()) {
      CO_TRY_ASSIGN(auto file, co_await children.open_child(both->file, "file", ChildRole::kFiltered));
      CO_TRY_ASSIGN(auto target, co_await children.open_child(both->target, "target", ChildRole::kMetadata));
      co_return std::make_unique<TwoChildren>(std::move(file), std::move(target));
    }
    const auto* raw = options.as_if<schema::BlockdevDriver::kRaw>();
    if (raw == nullptr) {
      const auto& store = options.as<schema::BlockdevDriver::kNullCo>();
      co_return std::make_unique<Store>(static_cast<std::uint64_t>(store.size.value_or(kBytes)));
    }
    CO_TRY_ASSIGN(std::unique_ptr<Edge> file, co_await children.open_child(raw->file, "file", ChildRole::kFiltered));
    co_return std::make_unique<Filter>(std::move(file));
  }
};

schema::BlockdevOptions options_of(json::Object members) {
  auto decoded = schema::decode<schema::BlockdevOptions>(json::Value(std::move(members)));
  EXPECT_TRUE(decoded);
  return *decoded;
}

aio::Task<IoResult> write_bytes(Node& node, Range range, bool may_grow) {
  std::vector<std::byte> bytes(range.length, std::byte{1});
  const iovec vector{bytes.data(), bytes.size()};
  co_return co_await node.write(range, {&vector, 1}, {.may_grow = may_grow});
}

aio::Task<void> apply_to(Graph& graph, std::vector<GraphStep> steps, std::string& error) {
  const Result<> result = co_await graph.apply(std::move(steps));
  if (!result) error = result.error().message();
}

// Everything about the bitmaps of a node, their order and their dirty ranges.
std::string dump(const Node& node) {
  std::string text;
  for (const auto& bitmap : node.bitmaps().list().all()) {
    const DirtyBits& bits = bitmap->bits();
    text += fmt::format("{} {}/{} enabled={} busy={} inconsistent={} count={}:", bitmap->name(), bits.size_bytes(),
                        bits.granularity_bytes(), bitmap->is_enabled(), bitmap->is_busy(), bitmap->is_inconsistent(),
                        bits.dirty_bytes());
    std::uint64_t offset = 0;
    while (std::optional<Range> run = bits.next_dirty({offset, bits.size_bytes() - offset})) {
      text += fmt::format(" {}+{}", run->offset, run->length);
      offset = run->end();
    }
    text += "\n";
  }
  return text;
}

class GraphBitmapsTest : public ReactorTest {
 protected:
  template <class... Steps>
  std::string change(Steps... steps) {
    std::vector<GraphStep> list;
    (list.emplace_back(std::move(steps)), ...);
    return apply(std::move(list));
  }
  std::string apply(std::vector<GraphStep> steps) {
    const Result<> result = run(graph_.apply(std::move(steps)));
    return result ? "" : result.error().message();
  }
  Node& add_store(const std::string& name, std::uint64_t bytes = kBytes) {
    EXPECT_EQ(change(AddNode{
                  options_of({{"driver", "null-co"}, {"node-name", name}, {"size", bytes}, {"discard", "unmap"}})}),
              "");
    return *graph_.find(name);
  }
  Node& add_filter(const std::string& name, const std::string& file) {
    EXPECT_EQ(
        change(AddNode{options_of({{"driver", "raw"}, {"node-name", name}, {"file", file}, {"discard", "unmap"}})}),
        "");
    return *graph_.find(name);
  }
  static AddBitmap bitmap(const std::string& node, const std::string& name, std::uint32_t granularity_bytes = 512) {
    return {.bitmap = {node, name}, .granularity_bytes = granularity_bytes};
  }
  void write(Node& node, std::uint64_t offset, std::uint64_t length, bool may_grow = false) {
    EXPECT_TRUE(run(write_bytes(node, {offset, length}, may_grow)));
  }
  static DirtyBitmap& find(const Node& node, const std::string& name) { return *node.bitmaps().list().find(name); }
  ~GraphBitmapsTest() override { run(graph_.close()); }

  StoreDrivers drivers_;
  Trace trace_;
  Graph graph_{reactor(), drivers_, trace_};
};

TEST_F(GraphBitmapsTest, EachStepIsUndoneExactlyWhenALaterOneFails) {
  Node& disk = add_store("disk");
  Node& other = add_store("other");
  ASSERT_EQ(change(bitmap("disk", "a"), bitmap("disk", "b", 4096), bitmap("disk", "c"), bitmap("other", "s", 1024)),
            "");
  write(disk, 1000, 3000);
  write(other, 20000, 5000);
  ASSERT_EQ(change(DisableBitmap{{"disk", "b"}}), "");
  write(disk, 50000, 10);
  const std::string before = dump(disk) + dump(other);
  const std::vector<std::function<GraphStep()>> steps = {
      [] { return bitmap("disk", "new"); },
      [] { return RemoveBitmap{{"disk", "b"}}; },
      [] { return ClearBitmap{{"disk", "a"}}; },
      [] { return EnableBitmap{{"disk", "b"}}; },
      [] { return DisableBitmap{{"disk", "a"}}; },
      [] { return MergeBitmaps{{"disk", "a"}, {{"disk", "c"}, {"other", "s"}, {"disk", "a"}}}; },
      [] { return MergeBitmaps{{"disk", "c"}, {{"disk", "b"}}}; },
  };
  // Each step alone, and each pair in order.
  for (const auto& first : steps) {
    for (const auto& second : steps) {
      for (const bool both : {false, true}) {
        std::vector<GraphStep> list;
        list.push_back(first());
        if (both) list.push_back(second());
        list.emplace_back(FailChange{"no more"});
        const std::string error = apply(std::move(list));
        EXPECT_TRUE(error == "no more" || both) << error;
        EXPECT_EQ(dump(disk) + dump(other), before);
      }
    }
  }
  // The same bitmaps still record, or do not.
  write(disk, 60000, 1);
  EXPECT_EQ(find(disk, "a").bits().find_dirty({59904, 512}), 59904u);
  EXPECT_EQ(find(disk, "b").bits().find_dirty({57344, 4096}), 61440u);
}

TEST_F(GraphBitmapsTest, AFailedChangeLeavesBitmapsThatAreBehindTheirNode) {
  Node& disk = add_store("disk");
  ASSERT_EQ(change(bitmap("disk", "a"), bitmap("disk", "b")), "");
  write(disk, 1000, 10);
  write(disk, disk.size_bytes(), 3000, true);
  const std::string before = dump(disk);
  const std::vector<std::function<GraphStep()>> steps = {
      [] { return bitmap("disk", "new"); },
      [] { return RemoveBitmap{{"disk", "a"}}; },
      [] { return ClearBitmap{{"disk", "a"}}; },
      [] { return DisableBitmap{{"disk", "a"}}; },
      [] { return MergeBitmaps{{"disk", "a"}, {{"disk", "b"}}}; },
      [] { return ResizeBitmaps{}; },
  };
  for (const auto& step : steps) {
    EXPECT_EQ(change(step(), FailChange{"no more"}), "no more");
    EXPECT_EQ(dump(disk), before);
  }
}

TEST_F(GraphBitmapsTest, ChecksComeInOrder) {
  add_store("disk");
  add_store("large", 2 * kBytes);
  EXPECT_EQ(change(bitmap("nowhere", "", 1)), "Bitmap name cannot be empty");
  EXPECT_EQ(change(bitmap("nowhere", "b", 1)), "Cannot find device='nowhere' nor node-name='nowhere'");
  AddBitmap persistent = bitmap("disk", "b", 1);
  persistent.persistent = true;
  EXPECT_EQ(change(persistent), "Granularity must be power of 2 and at least 512");
  persistent.granularity_bytes = 512;
  ASSERT_EQ(change(bitmap("disk", "b"), bitmap("disk", "s"), bitmap("large", "l")), "");
  EXPECT_EQ(change(persistent), "Can't store persistent bitmaps to disk: Operation not supported");
  EXPECT_EQ(change(bitmap("disk", "b")), "Bitmap already exists: b");
  const MergeBitmaps of_another_size{{"disk", "b"}, {{"disk", "s"}, {"large", "l"}, {"disk", "nowhere"}}};
  EXPECT_EQ(change(of_another_size),
            "Bitmaps are of different sizes (destination size is 65536, source size is 131072) and can't be merged");
  find(*graph_.find("disk"), "b").set_busy(true);
  EXPECT_EQ(change(MergeBitmaps{{"disk", "b"}, {{"disk", "nowhere"}}}), "Dirty bitmap 'nowhere' not found");
  EXPECT_EQ(change(MergeBitmaps{{"disk", "b"}, {}}), "Parameter 'bitmaps' expects at least one bitmap");
  const std::string in_use = "Bitmap 'b' is currently in use by another operation and cannot be used";
  EXPECT_EQ(change(MergeBitmaps{{"disk", "b"}, {{"disk", "s"}}}), in_use);
  EXPECT_EQ(change(MergeBitmaps{{"disk", "s"}, {{"disk", "b"}}}), in_use);
  EXPECT_EQ(change(ClearBitmap{{"disk", "b"}}), in_use);
  EXPECT_EQ(change(EnableBitmap{{"disk", "b"}}), in_use);
  EXPECT_EQ(change(DisableBitmap{{"disk", "b"}}), in_use);
  EXPECT_EQ(change(RemoveBitmap{{"disk", "b"}}), in_use);
  find(*graph_.find("disk"), "b").set_busy(false);
}

TEST_F(GraphBitmapsTest, EachStateAllowsWhatQemusDoes) {
  DirtyBitmap* bitmap_b = nullptr;
  Node& disk = add_store("disk");
  ASSERT_EQ(change(bitmap("disk", "b"), bitmap("disk", "s")), "");
  bitmap_b = &find(disk, "b");
  bitmap_b->set_read_only(true);
  const std::string read_only = "Bitmap 'b' is readonly and cannot be modified";
  EXPECT_EQ(change(DisableBitmap{{"disk", "b"}}), "");
  EXPECT_EQ(change(EnableBitmap{{"disk", "b"}}), "");
  EXPECT_EQ(change(MergeBitmaps{{"disk", "s"}, {{"disk", "b"}}}), "");
  EXPECT_EQ(change(MergeBitmaps{{"disk", "b"}, {{"disk", "s"}}}), read_only);
  EXPECT_EQ(change(ClearBitmap{{"disk", "b"}}), read_only);
  EXPECT_EQ(change(RemoveBitmap{{"disk", "b"}}), read_only);
  bitmap_b->set_read_only(false);
  bitmap_b->make_inconsistent();
  const std::string inconsistent = "Bitmap 'b' is inconsistent and cannot be used";
  EXPECT_EQ(change(DisableBitmap{{"disk", "b"}}), inconsistent);
  EXPECT_EQ(change(EnableBitmap{{"disk", "b"}}), inconsistent);
  EXPECT_EQ(change(MergeBitmaps{{"disk", "s"}, {{"disk", "b"}}}), inconsistent);
  EXPECT_EQ(change(MergeBitmaps{{"disk", "b"}, {{"disk", "s"}}}), inconsistent);
  EXPECT_EQ(change(ClearBitmap{{"disk", "b"}}), inconsistent);
  EXPECT_EQ(change(RemoveBitmap{{"disk", "b"}}), "");
}

TEST_F(GraphBitmapsTest, ARemovedBitmapIsBusyForTheStepsBehind) {
  Node& disk = add_store("disk");
  ASSERT_EQ(change(bitmap("disk", "b"), bitmap("disk", "c")), "");
  EXPECT_EQ(change(RemoveBitmap{{"disk", "b"}}, bitmap("disk", "b")), "Bitmap already exists: b");
  EXPECT_EQ(change(RemoveBitmap{{"disk", "b"}}, RemoveBitmap{{"disk", "b"}}),
            "Bitmap 'b' is currently in use by another operation and cannot be used");
  EXPECT_EQ(change(RemoveBitmap{{"disk", "b"}}, bitmap("disk", "d")), "");
  EXPECT_EQ(dump(disk),
            "c 65536/512 enabled=true busy=false inconsistent=false count=0:\n"
            "d 65536/512 enabled=true busy=false inconsistent=false count=0:\n");
}

// Applies `step` while a request of `edge` is under way, and calls `meanwhile` when the step waits for it.
aio::Task<void> apply_beside_request(Graph& graph, aio::Reactor& reactor, Edge& edge, GraphStep step,
                                     std::function<void()> meanwhile, std::string& error) {
  EXPECT_TRUE(edge.try_enter());
  aio::Scope scope(reactor);
  std::vector<GraphStep> steps;
  steps.push_back(std::move(step));
  scope.spawn("change", apply_to(graph, std::move(steps), error));
  while (edge.is_open()) co_await aio::next_turn();
  meanwhile();
  edge.leave();
  co_await scope.join();
}

TEST_F(GraphBitmapsTest, NoOperationTakesABitmapWhoseRemovalWaits) {
  Node& disk = add_store("disk");
  ASSERT_EQ(change(bitmap("disk", "b")), "");
  auto edge = run(graph_.attach("disk", {.name = "root"}, {}));
  ASSERT_TRUE(edge);
  std::string error;
  run(apply_beside_request(
      graph_, reactor(), **edge, RemoveBitmap{{"disk", "b"}},
      [&] { EXPECT_FALSE(find(disk, "b").check(DirtyBitmap::Use::kRead)); }, error));
  EXPECT_EQ(error, "");
  EXPECT_EQ(dump(disk), "");
  run(graph_.detach(std::move(*edge)));
}

TEST_F(GraphBitmapsTest, NoChangeOfABitmapThatAnOperationTookMeanwhile) {
  Node& disk = add_store("disk");
  ASSERT_EQ(change(bitmap("disk", "b"), bitmap("disk", "s")), "");
  write(disk, 0, 1);
  auto edge = run(graph_.attach("disk", {.name = "root"}, {}));
  ASSERT_TRUE(edge);
  const std::vector<std::function<GraphStep()>> steps = {
      [] { return ClearBitmap{{"disk", "b"}}; },
      [] { return DisableBitmap{{"disk", "b"}}; },
      [] { return MergeBitmaps{{"disk", "b"}, {{"disk", "s"}}}; },
  };
  DirtyBitmap& taken = find(disk, "b");
  const std::string before = dump(disk);
  for (const auto& step : steps) {
    std::string error;
    run(apply_beside_request(graph_, reactor(), **edge, step(), [&] { taken.set_busy(true); }, error));
    EXPECT_EQ(error, "Bitmap 'b' is currently in use by another operation and cannot be used");
    taken.set_busy(false);
    EXPECT_EQ(dump(disk), before);
  }
  run(graph_.detach(std::move(*edge)));
}

// Gives them back, as an operation does.
class Holder {
 public:
  explicit Holder(Graph& graph) : graph_(graph) {}
  HoldBitmaps step(std::string top, std::vector<BitmapReference> bitmaps, bool is_read_only = false) {
    return {.top = std::move(top), .is_read_only = is_read_only, .bitmaps = std::move(bitmaps), .held = &held_};
  }
  std::string names() const {
    std::string text;
    for (const HeldBitmap& one : held_) text += fmt::format("{}/{} ", one.edge().node().name(), one.name());
    return text;
  }
  const std::vector<HeldBitmap>& held() const { return held_; }
  aio::Task<void> give_back() { return graph_.release(std::exchange(held_, {})); }

 private:
  Graph& graph_;
  std::vector<HeldBitmap> held_;
};

TEST_F(GraphBitmapsTest, AnOperationGetsTheFirstBitmapOfANameDownTheChain) {
  add_store("disk");
  add_filter("middle", "disk");
  add_filter("top", "middle");
  add_store("other");
  ASSERT_EQ(change(bitmap("disk", "low"), bitmap("disk", "both"), bitmap("middle", "both"), bitmap("other", "far")),
            "");
  Holder holder(graph_);
  EXPECT_EQ(change(holder.step("top", {{{}, "both"}, {{}, "low"}, {"other", "far"}, {"disk", "both"}})), "");
  EXPECT_EQ(holder.names(), "middle/both disk/low other/far disk/both ");
  run(holder.give_back());
  EXPECT_EQ(change(holder.step("top", {{{}, "far"}})), "Bitmap 'far' is not found");
  EXPECT_EQ(change(holder.step("top", {{"other", "low"}})), "Dirty bitmap 'low' not found");
  EXPECT_EQ(change(holder.step("top", {{"nowhere", "low"}})), "Node 'nowhere' not found");
  EXPECT_EQ(change(holder.step("nowhere", {})), "Cannot find device='' nor node-name='nowhere'");
  EXPECT_EQ(holder.names(), "");
}

TEST_F(GraphBitmapsTest, AHeldBitmapIsBusyAndItsNodeStays) {
  Node& disk = add_store("disk");
  add_store("other");
  ASSERT_EQ(change(bitmap("disk", "b"), bitmap("other", "far")), "");
  const std::string before = dump(disk);
  Holder holder(graph_);
  ASSERT_EQ(change(holder.step("disk", {{{}, "b"}, {"other", "far"}, {{}, "b"}})), "");
  EXPECT_NE(dump(disk), before);
  const std::string busy = "Bitmap 'b' is currently in use by another operation and cannot be used";
  Holder second(graph_);
  EXPECT_EQ(change(second.step("disk", {{{}, "b"}})), busy);
  EXPECT_EQ(change(RemoveBitmap{{"disk", "b"}}), busy);
  EXPECT_EQ(change(RemoveNode{"other"}), "Node other is in use");
  write(disk, 0, 1);
  EXPECT_EQ(holder.held()[0].bits().dirty_bytes(), 512u);
  // Growth by a command, and by requests, reaches a busy bitmap too.
  EXPECT_EQ(change(ResizeNode{"disk", 2 * kBytes}), "");
  EXPECT_EQ(holder.held()[0].bits().size_bytes(), 2 * kBytes);
  run(holder.give_back());
  EXPECT_EQ(change(RemoveBitmap{{"disk", "b"}}), "");
  EXPECT_EQ(change(RemoveNode{"other"}), "");
}

TEST_F(GraphBitmapsTest, AReadOnlyOperationGetsNoBitmapOfItsChainThatRecordsWrites) {
  add_store("disk");
  EXPECT_EQ(change(AddNode{options_of({{"driver", "null-co"}, {"node-name", "fixed"}, {"read-only", true}})}), "");
  ASSERT_EQ(change(bitmap("disk", "b"), bitmap("fixed", "b"), bitmap("disk", "s"), DisableBitmap{{"disk", "s"}}), "");
  Holder holder(graph_);
  EXPECT_EQ(change(holder.step("disk", {{{}, "s"}, {{}, "b"}}, true)),
            "Enabled bitmap 'b' incompatible with readonly export");
  // A name with its node is what the user wants.
  EXPECT_EQ(change(holder.step("disk", {{{}, "s"}, {"disk", "b"}}, true)), "");
  EXPECT_EQ(holder.names(), "disk/s disk/b ");
  run(holder.give_back());
  EXPECT_EQ(change(holder.step("fixed", {{{}, "b"}}, true)), "");
  run(holder.give_back());
}

TEST_F(GraphBitmapsTest, HoldingIsUndoneExactlyWhenALaterStepFails) {
  Node& disk = add_store("disk");
  ASSERT_EQ(change(bitmap("disk", "a"), bitmap("disk", "b")), "");
  const std::string before = dump(disk);
  Holder holder(graph_);
  EXPECT_EQ(change(holder.step("disk", {{{}, "a"}, {{}, "b"}, {{}, "a"}}), FailChange{"no"}), "no");
  EXPECT_EQ(holder.names(), "");
  EXPECT_EQ(dump(disk), before);
  EXPECT_TRUE(disk.parents().empty());
  // An inconsistent one is refused, and none of the list becomes busy.
  find(disk, "b").make_inconsistent();
  EXPECT_EQ(change(holder.step("disk", {{{}, "a"}, {{}, "b"}})), "Bitmap 'b' is inconsistent and cannot be used");
  EXPECT_FALSE(find(disk, "a").is_busy());
}

TEST_F(GraphBitmapsTest, AHeldBitmapKeepsItsNodeWhenTheOthersMoveToAFilter) {
  Node& disk = add_store("disk");
  add_filter("filter", "disk");
  ASSERT_EQ(change(bitmap("disk", "b")), "");
  Holder holder(graph_);
  auto client = run(graph_.attach("disk", {.name = "root"}, {}));
  ASSERT_TRUE(client);
  ASSERT_EQ(change(holder.step("disk", {{{}, "b"}})), "");
  EXPECT_EQ(change(ReplaceNode{"disk", "filter"}), "");
  EXPECT_EQ((*client)->node().name(), "filter");
  EXPECT_EQ(holder.names(), "disk/b ");
  EXPECT_EQ(&holder.held()[0].edge().node(), &disk);
  run(holder.give_back());
  run(graph_.detach(std::move(*client)));
}

TEST_F(GraphBitmapsTest, AFilterGivesItsUsersToTheNodeThatItFiltersNow) {
  add_store("disk");
  add_filter("above", "disk");
  auto client = run(graph_.attach("above", {.name = "root"}, {}));
  ASSERT_TRUE(client);
  add_filter("between", "disk");
  ASSERT_EQ(change(ReplaceNode{"disk", "between"}), "");
  EXPECT_EQ(change(ReplaceNode{"above"}), "");
  EXPECT_EQ((*client)->node().name(), "between");
  EXPECT_EQ(change(ReplaceNode{"disk"}), "Node 'disk' is no filter");
  run(graph_.detach(std::move(*client)));
}

TEST_F(GraphBitmapsTest, EveryNodeThatGetsAChangeMarksIt) {
  Node& disk = add_store("disk");
  Node& filter = add_filter("filter", "disk");
  ASSERT_EQ(change(bitmap("disk", "b"), bitmap("filter", "b")), "");
  write(filter, 0, 1);
  EXPECT_TRUE(run(filter.write_zeroes({1024, 512}, {})));
  EXPECT_TRUE(run(filter.discard({8192, 100})));
  write(disk, 4096, 1);
  const std::string head = "b 65536/512 enabled=true busy=false inconsistent=false count=";
  EXPECT_EQ(dump(filter), head + "1536: 0+512 1024+512 8192+512\n");
  EXPECT_EQ(dump(disk), head + "2048: 0+512 1024+512 4096+512 8192+512\n");
}

TEST_F(GraphBitmapsTest, GrowthByRequestsCountsAsWrittenAtTheNextChange) {
  Node& disk = add_store("disk");
  ASSERT_EQ(change(bitmap("disk", "on"), bitmap("disk", "off"), DisableBitmap{{"disk", "off"}}), "");
  write(disk, kBytes + 1024, 512, true);
  // Bits do not move while requests are under way; what lies past them reads as dirty.
  EXPECT_EQ(find(disk, "on").bits().size_bytes(), kBytes);
  EXPECT_EQ(find(disk, "on").bits().find_dirty({0, 2 * kBytes}), kBytes);
  EXPECT_TRUE(run(graph_.resize_bitmaps()));
  EXPECT_EQ(dump(disk),
            "on 67072/512 enabled=true busy=false inconsistent=false count=1536: 65536+1536\n"
            "off 67072/512 enabled=false busy=false inconsistent=false count=0:\n");
}

TEST_F(GraphBitmapsTest, AResizeAddsCleanBytesHereAndAboveAndDropsWhatItCutsOff) {
  Node& disk = add_store("disk");
  Node& filter = add_filter("filter", "disk");
  ASSERT_EQ(change(bitmap("disk", "b"), bitmap("filter", "b")), "");
  write(filter, 0, 1);
  write(filter, kBytes - 1, 1);
  EXPECT_EQ(change(ResizeNode{"disk", 2 * kBytes}), "");
  const std::string larger = "b 131072/512 enabled=true busy=false inconsistent=false count=1024: 0+512 65024+512\n";
  EXPECT_EQ(dump(disk), larger);
  EXPECT_EQ(dump(filter), larger);
  EXPECT_EQ(change(ResizeNode{"disk", kBytes / 2}), "");
  const std::string smaller = "b 32768/512 enabled=true busy=false inconsistent=false count=512: 0+512\n";
  EXPECT_EQ(dump(disk), smaller);
  EXPECT_EQ(dump(filter), smaller);
}

TEST_F(GraphBitmapsTest, AResizeReachesNodesBelowThatOnlyFollowIt) {
  Node& disk = add_store("disk");
  Node& filter = add_filter("filter", "disk");
  ASSERT_EQ(change(AddNode{options_of(
                {{"driver", "copy-before-write"}, {"node-name", "top"}, {"file", "disk"}, {"target", "filter"}})}),
            "");
  ASSERT_EQ(change(bitmap("disk", "b"), bitmap("filter", "b"), bitmap("top", "b")), "");
  write(filter, 0, 1);
  EXPECT_EQ(change(ResizeNode{"top", 2 * kBytes}), "");
  const std::string larger = "b 131072/512 enabled=true busy=false inconsistent=false count=512: 0+512\n";
  EXPECT_EQ(dump(disk), larger);
  EXPECT_EQ(dump(filter), larger);
  EXPECT_EQ(graph_.find("top")->bitmaps().list().find("b")->bits().size_bytes(), 2 * kBytes);
}

TEST_F(GraphBitmapsTest, BitmapsGoWithTheirNode) {
  Node& disk = add_store("disk");
  add_filter("filter", "disk");
  ASSERT_EQ(change(bitmap("disk", "b"), bitmap("filter", "b")), "");
  EXPECT_EQ(change(RemoveNode{"filter"}, FailChange{"no"}), "no");
  EXPECT_EQ(graph_.find("filter")->bitmaps().list().all().size(), 1u);
  EXPECT_EQ(change(RemoveNode{"filter"}), "");
  write(disk, 0, 1);
  // The bitmap and its node go in one change.
  EXPECT_EQ(change(RemoveBitmap{{"disk", "b"}}, RemoveNode{"disk"}), "");
}

// Records the ranges that change while it listens.
class Model final : public ChangeListener {
 public:
  void changed(const Change& change) override {
    if (change.kind == ChangeKind::kResize) return;
    std::lock_guard guard(mutex_);
    ranges_.push_back(change.range);
  }
  std::vector<Range> ranges() {
    std::lock_guard guard(mutex_);
    return ranges_;
  }

 private:
  std::mutex mutex_;
  std::vector<Range> ranges_;
};

class WritersCourse {
 public:
  WritersCourse(std::uint64_t seed, bool grows)
      : grows_(grows), reactors_(3, seed), random_(seed * 7919), graph_(reactors_.control(), drivers_, trace_) {}

  void run(int cycles) { reactors_.run(go(cycles)); }
  std::uint64_t writes() const { return writes_; }

 private:
  struct Writer {
    explicit Writer(std::uint64_t seed) : random(seed) {}
    std::unique_ptr<Edge> edge;
    aio::Random random;
  };

  aio::Task<void> go(int cycles) {
    co_await change(AddNode{options_of({{"driver", "null-co"}, {"node-name", "disk"}, {"size", kBytes}})});
    aio::Scope writing(reactors_.control());
    std::vector<std::unique_ptr<Writer>> writers;
    for (std::size_t i = 0; i < 4; ++i) {
      writers.push_back(std::make_unique<Writer>(random_.next()));
      auto edge = co_await graph_.attach("disk", {.name = "root"}, kUse);
      EXPECT_TRUE(edge.has_value());
      writers.back()->edge = std::move(*edge);
      writing.spawn("writer", aio::run_on(reactors_.place(i % reactors_.size()), "writer", keep_writing(*writers[i])));
    }
    for (int cycle = 0; cycle < cycles && !testing::Test::HasFailure(); ++cycle) co_await record(cycle);
    stop_ = true;
    co_await writing.join();
    for (auto& writer : writers) co_await graph_.detach(std::move(writer->edge));
    co_await graph_.close();
  }

  aio::Task<void> keep_writing(Writer& writer) {
    while (!stop_ && !testing::Test::HasFailure()) {
      const std::uint64_t limit = grows_ ? Store::kBytesMax : kBytes;
      // Growth is slow, so that it goes on for the whole course.
      const std::uint64_t reach = grows_ ? std::min(limit, writer.edge->node().size_bytes() + 64) : limit;
      const std::uint64_t offset = writer.random.below(reach - 64);
      const Range range{offset, 1 + writer.random.below(64)};
      if (!co_await writer.edge->enter()) break;
      EXPECT_TRUE(co_await write_bytes(writer.edge->node(), range, grows_));
      writer.edge->leave();
      ++writes_;
      if (writer.random.one_in(3)) co_await aio::next_turn();
    }
  }

  // Two periods, each with its own bitmap and model, and a bitmap for both that is merged of them.
  aio::Task<void> record(int cycle) {
    Model first_model;
    Model second_model;
    const BitmapName first{"disk", fmt::format("first{}", cycle)};
    const BitmapName second{"disk", fmt::format("second{}", cycle)};
    const BitmapName both{"disk", fmt::format("both{}", cycle)};
    const std::uint64_t bytes_at_begin = graph_.find("disk")->size_bytes();
    co_await change(AddBitmap{first, 512}, AddListener{"disk", &first_model});
    co_await let_them_work();
    // A transaction that fails changes nothing for those who record.
    EXPECT_FALSE(co_await apply(AddBitmap{both, 512}, ClearBitmap{first}, DisableBitmap{first}, FailChange{"no"}));
    co_await let_them_work();
    co_await change(DisableBitmap{first}, RemoveListener{"disk", &first_model}, AddBitmap{second, 512},
                    AddListener{"disk", &second_model});
    co_await let_them_work();
    co_await change(DisableBitmap{second}, RemoveListener{"disk", &second_model},
                    AddBitmap{.bitmap = both, .granularity_bytes = 1024, .enabled = false},
                    MergeBitmaps{both, {first, second}});
    co_await let_them_work();
    EXPECT_TRUE(co_await graph_.resize_bitmaps());
    check(first, first_model.ranges(), bytes_at_begin);
    check(second, second_model.ranges(), bytes_at_begin);
    std::vector<Range> ranges = first_model.ranges();
    for (Range range : second_model.ranges()) ranges.push_back(range);
    check(both, ranges, bytes_at_begin);
    co_await change(RemoveBitmap{second}, RemoveBitmap{first}, RemoveBitmap{both});
  }

  // All that the model has is dirty, and nothing else is, unless the node may have grown there.
  void check(const BitmapName& name, const std::vector<Range>& ranges, std::uint64_t bytes_at_begin) {
    const DirtyBits& bits = graph_.find(name.node)->bitmaps().list().find(name.name)->bits();
    auto expected = DirtyBits::create(bits.size_bytes(), bits.granularity_bytes());
    for (Range range : ranges) (*expected)->mark(range);
    for (std::uint64_t offset = 0; offset < bits.size_bytes(); offset += bits.granularity_bytes()) {
      const Range byte{offset, 1};
      const bool is_expected = (*expected)->run_at(byte).is_dirty;
      const bool is_dirty = bits.run_at(byte).is_dirty;
      if (is_expected) {
        EXPECT_TRUE(is_dirty) << name.name << " misses a change at " << offset;
      } else if (offset + bits.granularity_bytes() <= bytes_at_begin) {
        EXPECT_FALSE(is_dirty) << name.name << " is dirty without a change at " << offset;
      }
    }
  }

  template <class... Steps>
  aio::Task<Result<>> apply(Steps... steps) {
    std::vector<GraphStep> list;
    (list.emplace_back(std::move(steps)), ...);
    co_return co_await graph_.apply(std::move(list));
  }
  template <class... Steps>
  aio::Task<void> change(Steps... steps) {
    const Result<> result = co_await apply(std::move(steps)...);
    EXPECT_TRUE(result.has_value()) << result.error().message();
  }
  aio::Task<void> let_them_work() {
    aio::Reactor& control = reactors_.control();
    (void)co_await control.sleep_until(control.now_ns() + random_.below(200'000));
  }

  static constexpr Permissions kUse{.used = Permission::kConsistentRead | Permission::kWrite | Permission::kResize,
                                    .shared = PermissionSet::all()};

  bool grows_;
  Reactors reactors_;
  aio::Random random_;
  Trace trace_;
  StoreDrivers drivers_;
  Graph graph_;
  std::atomic<bool> stop_ = false;
  std::atomic<std::uint64_t> writes_ = 0;
};

class BitmapWritersTest : public testing::TestWithParam<bool> {};

TEST_P(BitmapWritersTest, ABitmapHasWhatChangedWhileItWasEnabled) {
  const int factor = std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 50 : 1;
  const int seeds = Reactors::are_simulated() ? 10 * factor : 1;
  const int cycles = Reactors::are_simulated() ? 30 : 200 * factor;
  std::uint64_t writes = 0;
  for (int seed = 1; seed <= seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    WritersCourse course(static_cast<std::uint64_t>(seed), GetParam());
    course.run(cycles);
    writes += course.writes();
  }
  EXPECT_GT(writes, 0u);
}

INSTANTIATE_TEST_SUITE_P(Growth, BitmapWritersTest, testing::Bool());

}  // namespace
}  // namespace blockexport::block
