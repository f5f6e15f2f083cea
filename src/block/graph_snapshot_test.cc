// Overlays above nodes: the moved users, the refusals, and changes in which each call of a driver fails once.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/chain.h"
#include "block/graph.h"
#include "block/graph_info.h"
#include "block/overlay_source.h"
#include "block/reopen_children.h"
#include "block/testing/reactor_test.h"
#include "json/value.h"
#include "json/writer.h"
#include "schema/codec.h"

namespace blockexport::block {
namespace {

constexpr std::uint64_t kCallsMax = 200;
constexpr Permissions kWriter{.used = Permission::kConsistentRead | Permission::kWrite};
constexpr Permissions kReader{.used = Permission::kConsistentRead};

// Calls of drivers that can fail.
struct Calls {
  Result<> call(const char* name) {
    if (until_failure && (*until_failure)-- == 0) {
      until_failure.reset();
      return fail(fmt::format("{} fails", name));
    }
    return {};
  }
  std::optional<std::uint64_t> until_failure;
};

// An image without content, with a backing node or none; or a store, which has no children.
class Image final : public Driver {
 public:
  Image(Calls& calls, std::uint64_t size_bytes, std::unique_ptr<Edge> file, std::unique_ptr<Edge> backing)
      : calls_(calls), size_bytes_(size_bytes), file_(std::move(file)), backing_(std::move(backing)) {}

  aio::Task<IoResult> read(Range, IoBuffers) override { co_return IoResult(); }
  aio::Task<IoResult> write(Range, IoBuffers, WriteOptions) override { co_return IoResult(); }
  aio::Task<IoResult> write_zeroes(Range, ZeroOptions) override { co_return IoResult(); }
  aio::Task<IoResult> discard(Range) override { co_return IoResult(); }
  aio::Task<IoResult> flush() override {
    if (calls_.call("flush")) co_return IoResult();
    co_return fail(EIO);
  }
  bool owes_flush() const override { return true; }
  aio::Task<IoResult> extents(Range, Extents&) override { co_return IoResult(); }
  aio::Task<IoResult> prefetch(Range) override { co_return IoResult(); }
  std::uint64_t size_bytes() const override { return size_bytes_; }
  Limits limits() const override { return {}; }
  std::string_view format_name() const override { return file_ != nullptr ? "qcow2" : "null-co"; }
  std::string filename() const override { return "null-co://"; }
  std::vector<Edge*> children() const override {
    std::vector<Edge*> all;
    if (backing_ != nullptr) all.push_back(backing_.get());
    if (file_ != nullptr) all.push_back(file_.get());
    return all;
  }
  Permissions child_permissions(const Edge& child, const Permissions& own, bool) const override {
    if (&child == backing_.get()) return {.used = own.used & Permission::kConsistentRead};
    return own;
  }
  aio::Task<Result<>> set_permissions(Permissions permissions) override {
    const bool gives_up_only = held_.used.contains(permissions.used) && permissions.shared.contains(held_.shared);
    if (!gives_up_only) CO_TRY(calls_.call("set_permissions"));
    held_ = permissions;
    co_return Result<>();
  }
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions&, const schema::BlockdevOptions& after, NodeOptions&,
                                     ReopenChildren& children) override {
    CO_TRY(calls_.call("prepare_reopen"));
    const auto* image = after.as_if<schema::BlockdevDriver::kQcow2>();
    if (image != nullptr && image->backing && backing_ == nullptr) {
      if (const auto reference = as_reference(*image->backing)) {
        CO_TRY_ASSIGN(backing_, children.add_child(*reference, "backing", ChildRole::kBacking));
        has_added_ = true;
      }
    }
    co_return Result<>();
  }
  aio::Task<void> commit_reopen() override {
    has_added_ = false;
    co_return;
  }
  aio::Task<void> abort_reopen() override {
    if (std::exchange(has_added_, false)) backing_.reset();
    co_return;
  }

 private:
  Calls& calls_;
  std::uint64_t size_bytes_;
  std::unique_ptr<Edge> file_;
  std::unique_ptr<Edge> backing_;
  Permissions held_;
  bool has_added_ = false;
};

struct Drivers final : DriverTable {
  aio::Task<Result<std::unique_ptr<Driver>>> open(const schema::BlockdevOptions& options, const NodeOptions&,
                                                  ChildOpener& children) override {
    CO_TRY(calls.call("open"));
    const std::uint64_t size_bytes = options.node_name == "large" ? 8192 : 4096;
    if (options.driver() == schema::BlockdevDriver::kNullCo) {
      co_return std::make_unique<Image>(calls, size_bytes, nullptr, nullptr);
    }
    if (const auto* raw = options.as_if<schema::BlockdevDriver::kRaw>()) {
      CO_TRY_ASSIGN(std::unique_ptr<Edge> file, co_await children.open_child(raw->file, "file", ChildRole::kFiltered));
      co_return std::make_unique<Image>(calls, size_bytes, std::move(file), nullptr);
    }
    const auto& image = options.as<schema::BlockdevDriver::kQcow2>();
    CO_TRY_ASSIGN(std::unique_ptr<Edge> file,
                  co_await children.open_child(image.file, "file", ChildRole::kData | ChildRole::kMetadata));
    std::unique_ptr<Edge> backing;
    if (const auto reference = image.backing ? as_reference(*image.backing) : std::nullopt) {
      CO_TRY_ASSIGN(backing, co_await children.open_child(*reference, "backing", ChildRole::kBacking));
    }
    co_return std::make_unique<Image>(calls, size_bytes, std::move(file), std::move(backing));
  }

  Calls calls;
};

schema::BlockdevOptions decoded(json::Object members) {
  auto options = schema::decode<schema::BlockdevOptions>(json::Value(std::move(members)));
  EXPECT_TRUE(options);
  return std::move(*options);
}

json::Object image_options(const std::string& name) {
  return {{"driver", "qcow2"}, {"node-name", name}, {"file", json::Object{{"driver", "null-co"}}}};
}

struct Source final : OverlaySource {
  explicit Source(Calls& all_calls) : calls(all_calls) {}
  aio::Task<Result<schema::BlockdevOptions>> make(OverlayBase base) override {
    made = std::move(base);
    CO_TRY(calls.call("make"));
    json::Object members = image_options("other");
    co_return decoded(std::move(members));
  }
  Calls& calls;
  OverlayBase made;
};

class GraphSnapshotTest : public ReactorTest {
 protected:
  ~GraphSnapshotTest() override {
    for (std::unique_ptr<Edge>& edge : edges_) run(graph_.detach(std::move(edge)));
    run(graph_.close());
  }

  void add(json::Object members) { ASSERT_EQ(text_of(run(graph_.add(decoded(std::move(members))))), ""); }
  void add_image(const std::string& name) { add(image_options(name)); }
  Edge& attach(const std::string& name, Permissions permissions) {
    auto edge = run(graph_.attach(name, {.name = "root", .description = "a test"}, permissions));
    EXPECT_TRUE(edge);
    edges_.push_back(std::move(*edge));
    return *edges_.back();
  }
  template <class... Steps>
  std::string apply(Steps... steps) {
    std::vector<GraphStep> list;
    (list.emplace_back(std::move(steps)), ...);
    return text_of(run(graph_.apply(std::move(list))));
  }
  static std::string text_of(const Result<>& result) { return result ? "" : result.error().message(); }
  AddOverlay overlay(const std::string& node, const std::string& name) {
    return {.device = "", .node = node, .overlay = name, .source = &source_};
  }

  // Everything that the graph has: nodes with their options and edges with their permissions, in order.
  std::string state() {
    std::string text;
    for (const GraphNode& one : graph_.nodes()) {
      text += fmt::format("{} {} {}: ", one.node->name(), one.owned_by_user, one.node->read_only());
      json::write(schema::encode(one.options), text);
      for (const Edge& edge : one.node->parents()) text += fmt::format(" {}", static_cast<const void*>(&edge));
      text += "\n";
    }
    json::write(schema::encode(block_graph(graph_)), text);
    return text;
  }

  Trace trace_;
  Drivers drivers_;
  Graph graph_{reactor(), drivers_, trace_};
  Source source_{drivers_.calls};
  std::vector<std::unique_ptr<Edge>> edges_;
};

TEST_F(GraphSnapshotTest, TheUsersOfANodeMoveToTheOverlay) {
  add_image("base");
  add_image("top");
  Edge& writer = attach("base", kWriter);
  Edge& reader = attach("base", kReader);
  EXPECT_EQ(apply(TakeSnapshot{"base", "top"}), "");
  Node& top = *graph_.find("top");
  EXPECT_EQ(&writer.node(), &top);
  EXPECT_EQ(&reader.node(), &top);
  EXPECT_EQ(backing_node(top), graph_.find("base"));
  EXPECT_EQ(graph_.find("base")->permissions().used, PermissionSet(Permission::kConsistentRead));
  EXPECT_EQ(text_of(run(graph_.remove("base"))), "Node 'base' is busy: node is used as backing hd of 'top'");
  EXPECT_EQ(text_of(run(graph_.resize("base", 4096))), "Node 'base' is busy: node is used as backing hd of 'top'");
}

TEST_F(GraphSnapshotTest, TheNodeBecomesReadOnlyAfterwards) {
  add_image("base");
  add_image("top");
  attach("base", kWriter);
  EXPECT_EQ(apply(TakeSnapshot{"base", "top"}), "");
  run(graph_.settle_snapshot("base", "top"));
  EXPECT_TRUE(graph_.find("base")->read_only());
  EXPECT_FALSE(graph_.find("top")->read_only());
}

TEST_F(GraphSnapshotTest, ANodeThatCannotBeReopenedStaysWritable) {
  add_image("base");
  add_image("top");
  EXPECT_EQ(apply(TakeSnapshot{"base", "top"}), "");
  const std::string before = state();
  drivers_.calls.until_failure = 0;
  run(graph_.settle_snapshot("base", "top"));
  EXPECT_EQ(state(), before);
}

TEST_F(GraphSnapshotTest, AChainGrowsByTwoInOneChange) {
  for (const char* name : {"base", "middle", "top"}) add_image(name);
  Edge& writer = attach("base", kWriter);
  EXPECT_EQ(apply(TakeSnapshot{"base", "middle"}, TakeSnapshot{"middle", "top"}), "");
  EXPECT_EQ(writer.node().name(), "top");
  EXPECT_EQ(backing_node(writer.node())->name(), "middle");
  EXPECT_EQ(backing_node(*graph_.find("middle"))->name(), "base");
}

TEST_F(GraphSnapshotTest, AnOverlayOfAnotherSizeIsAllowed) {
  add_image("base");
  add_image("large");
  Edge& writer = attach("base", kWriter);
  EXPECT_EQ(apply(TakeSnapshot{"base", "large"}), "");
  EXPECT_EQ(writer.node().size_bytes(), 8192u);
}

TEST_F(GraphSnapshotTest, RefusesNodesThatCannotBeOverlays) {
  for (const char* name : {"base", "top", "used", "low", "lone"}) add_image(name);
  json::Object above = image_options("above");
  above.set("backing", "low");
  add(std::move(above));
  add({{"driver", "null-co"}, {"node-name", "null"}});
  add({{"driver", "raw"}, {"node-name", "raw"}, {"file", "lone"}});
  attach("used", kReader);
  attach("base", kReader);
  const std::string before = state();
  EXPECT_EQ(apply(TakeSnapshot{"none", "top"}), "Cannot find device='none' nor node-name='none'");
  EXPECT_EQ(apply(TakeSnapshot{"base", "none"}), "Cannot find device='none' nor node-name='none'");
  EXPECT_EQ(apply(TakeSnapshot{"base", "used"}), "The overlay is already in use");
  EXPECT_EQ(apply(TakeSnapshot{"base", "above"}), "The overlay already has a backing image");
  EXPECT_EQ(apply(TakeSnapshot{"base", "null"}), "The overlay does not support backing images");
  EXPECT_EQ(apply(TakeSnapshot{"base", "raw"}), "The overlay does not support backing images");
  EXPECT_EQ(apply(TakeSnapshot{"raw", "lone"}), "Making 'raw' a backing child of 'lone' would create a cycle");
  EXPECT_EQ(apply(TakeSnapshot{"low", "top"}), "Node 'low' is busy: node is used as backing hd of 'above'");
  EXPECT_EQ(apply(TakeSnapshot{"base", "top"}, TakeSnapshot{"used", "base"}), "The overlay is already in use");
  EXPECT_EQ(state(), before);
}

TEST_F(GraphSnapshotTest, ANewOverlayKnowsTheNodeBelowAndGoesWithItsLastUser) {
  add_image("base");
  Edge& writer = attach("base", kWriter);
  EXPECT_EQ(apply(overlay("base", "new")), "");
  EXPECT_EQ(writer.node().name(), "new");
  EXPECT_EQ(backing_node(writer.node())->name(), "base");
  EXPECT_EQ(source_.made.format, "qcow2");
  EXPECT_EQ(source_.made.size_bytes, 4096u);
  run(graph_.settle_snapshot("base", "new"));
  EXPECT_TRUE(graph_.find("base")->read_only());
  ASSERT_NE(graph_.find("new"), nullptr);
  run(graph_.detach(std::move(edges_.back())));
  edges_.pop_back();
  EXPECT_EQ(graph_.find("new"), nullptr);
  EXPECT_EQ(graph_.nodes().size(), 2u);
}

TEST_F(GraphSnapshotTest, ANewOverlayWithoutUsersGoesAtOnce) {
  add_image("base");
  EXPECT_EQ(apply(overlay("base", "new")), "");
  run(graph_.settle_snapshot("base", "new"));
  EXPECT_EQ(graph_.find("new"), nullptr);
  EXPECT_TRUE(graph_.find("base")->read_only());
}

TEST_F(GraphSnapshotTest, WhicheverCallFailsEverythingIsAsBefore) {
  for (const char* name : {"a", "b", "c", "a1", "b1", "a2"}) add_image(name);
  for (const char* name : {"a", "b", "c"}) attach(name, kWriter);
  const std::string before = state();
  std::string error = "begin";
  std::uint64_t calls = 0;
  for (; !error.empty(); ++calls) {
    ASSERT_LT(calls, kCallsMax);
    drivers_.calls.until_failure = calls;
    error = apply(TakeSnapshot{"a", "a1"}, TakeSnapshot{"b", "b1"}, overlay("c", "new"), TakeSnapshot{"a1", "a2"});
    if (!error.empty()) EXPECT_EQ(state(), before) << "call " << calls << ": " << error;
  }
  EXPECT_GT(calls, 12u);
  EXPECT_EQ(edges_[0]->node().name(), "a2");
  EXPECT_EQ(edges_[2]->node().name(), "new");
}

TEST_F(GraphSnapshotTest, AFailureAfterAllStepsUndoesThem) {
  for (const char* name : {"a", "a1", "a2"}) add_image(name);
  attach("a", kWriter);
  attach("a", kReader);
  const std::string before = state();
  EXPECT_EQ(apply(TakeSnapshot{"a", "a1"}, overlay("a1", "new"), TakeSnapshot{"new", "a2"}, FailChange{"no"}), "no");
  EXPECT_EQ(state(), before);
}

}  // namespace
}  // namespace blockexport::block
