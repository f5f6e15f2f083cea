// Changes of a graph whose drivers fail and wait as a test tells them: no change is incomplete, and no task uses a node
// or an edge that was removed meanwhile.
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <map>

#include "block/graph.h"
#include "block/testing/reactor_test.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::block {
namespace {

// State of the drivers for tests; outlives the drivers.
struct Drivers final : DriverTable {
  aio::Task<Result<std::unique_ptr<Driver>>> open(const schema::BlockdevOptions& options, const NodeOptions&,
                                                  ChildOpener& children) override;

  std::vector<std::string> permissions;  // "used/shared" of each call of set_permissions
  int permissions_until_error = -1;
  std::vector<std::string> stops;  // calls of quiesce() and resume(), and ends of drivers
  std::uint64_t resize_error = 0;
  aio::Event* resize_pause = nullptr;  // a resize ends only after it is set
  aio::Event* flush_pause = nullptr;   // a flush ends only after it is set
  std::uint64_t size_bytes = 4096;
};

std::string bits(PermissionSet set) {
  std::string text;
  for (Permission permission : kAllPermissions) text += set.has(permission) ? permission_text(permission)[0] : '-';
  return text;
}

std::string text_of(Permissions permissions) {
  return bits(permissions.used) + "/" + bits(permissions.shared);
}

// A store, or a driver that forwards to one. With an offset it shows a part of fixed position.
class TestDriver final : public Driver {
 public:
  TestDriver(Drivers& drivers, std::unique_ptr<Edge> file, bool is_part)
      : drivers_(drivers), file_(std::move(file)), is_part_(is_part) {}
  ~TestDriver() override { drivers_.stops.push_back(file_ == nullptr ? "destroy the store" : "destroy the filter"); }

  aio::Task<IoResult> read(Range, IoBuffers) override { co_return IoResult(); }
  aio::Task<IoResult> write(Range, IoBuffers, WriteOptions) override { co_return IoResult(); }
  aio::Task<IoResult> write_zeroes(Range, ZeroOptions) override { co_return IoResult(); }
  aio::Task<IoResult> discard(Range) override { co_return IoResult(); }
  aio::Task<IoResult> flush() override {
    if (drivers_.flush_pause != nullptr && file_ == nullptr) (void)co_await drivers_.flush_pause->wait();
    co_return IoResult();
  }
  aio::Task<IoResult> extents(Range, Extents&) override { co_return IoResult(); }
  aio::Task<IoResult> prefetch(Range) override { co_return IoResult(); }
  std::uint64_t size_bytes() const override { return drivers_.size_bytes; }
  Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "test"; }
  std::vector<Edge*> children() const override {
    return file_ == nullptr ? std::vector<Edge*>{} : std::vector<Edge*>{file_.get()};
  }
  Permissions child_permissions(const Edge&, const Permissions& own, bool) const override {
    Permissions needed = own;
    if (is_part_) needed.shared = needed.shared - Permission::kResize;
    return needed;
  }
  aio::Task<void> quiesce() override {
    drivers_.stops.push_back(file_ == nullptr ? "quiesce the store" : "quiesce the filter");
    co_return;
  }
  void resume() override { drivers_.stops.push_back(file_ == nullptr ? "resume the store" : "resume the filter"); }
  aio::Task<Result<>> set_permissions(Permissions permissions) override {
    if (drivers_.permissions_until_error == 0) co_return fail("no lock to be had");
    if (drivers_.permissions_until_error > 0) --drivers_.permissions_until_error;
    drivers_.permissions.push_back(text_of(permissions));
    co_return Result<>();
  }
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override {
    if (file_ != nullptr) co_return co_await file_->node().resize(size_bytes);
    if (drivers_.resize_pause != nullptr) (void)co_await drivers_.resize_pause->wait();
    if (drivers_.resize_error != 0) co_return fail("no space to be had");
    drivers_.size_bytes = size_bytes;
    co_return Result<>();
  }

 private:
  Drivers& drivers_;
  std::unique_ptr<Edge> file_;
  bool is_part_;
};

aio::Task<Result<std::unique_ptr<Driver>>> Drivers::open(const schema::BlockdevOptions& options, const NodeOptions&,
                                                         ChildOpener& children) {
  const auto* raw = options.as_if<schema::BlockdevDriver::kRaw>();
  std::unique_ptr<Edge> file;
  if (raw != nullptr) {
    CO_TRY_ASSIGN(file, co_await children.open_child(raw->file, "file", ChildRole::kFiltered));
  }
  co_return std::make_unique<TestDriver>(*this, std::move(file), raw != nullptr && raw->offset.has_value());
}

struct Listener final : ChangeListener {};

const Permissions kReader{.used = Permission::kConsistentRead, .shared = PermissionSet::all() - Permission::kResize};

class GraphChangeTest : public ReactorTest {
 protected:
  using Members = std::initializer_list<json::Object::Member>;
  void add(Members members) {
    auto decoded = schema::decode<schema::BlockdevOptions>(json::Object(members));
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_EQ(message(run(graph_.add(std::move(*decoded)))), "");
  }
  static std::string message(const Result<>& result) { return result ? "" : result.error().message(); }
  static EdgeParent user(bool tolerates_growth) {
    return {.name = "root", .description = "a user", .tolerates_growth = tolerates_growth};
  }
  std::unique_ptr<Edge> attach(const std::string& name, bool tolerates_growth = true) {
    auto edge = run(graph_.attach(name, user(tolerates_growth), kReader));
    EXPECT_TRUE(edge) << edge.error().message();
    return edge ? std::move(*edge) : nullptr;
  }
  void detach(std::unique_ptr<Edge> edge) { run(graph_.detach(std::move(edge))); }
  std::string resize(const std::string& name, std::int64_t size) { return message(run(graph_.resize(name, size))); }

  // The permissions of every node and of every edge.
  std::vector<std::string> all_permissions() {
    std::vector<std::string> all;
    for (const GraphNode& entry : graph_.nodes()) {
      all.push_back(entry.node->name() + " " + text_of(entry.node->permissions()));
      for (Edge& edge : entry.node->parents()) all.push_back("  " + text_of(edge.permissions()));
    }
    return all;
  }

  Drivers drivers_;
  Trace trace_;
  Graph graph_{reactor(), drivers_, trace_};
};

TEST_F(GraphChangeTest, ANodeGrowsUnderUsersThatTolerateIt) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  add({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}});
  auto above = attach("r");
  auto beside = attach("f");
  const auto before = all_permissions();
  drivers_.permissions.clear();
  EXPECT_EQ(resize("f", 8192), "");
  EXPECT_EQ(resize("r", 16384), "");
  EXPECT_EQ(drivers_.size_bytes, 16384u);
  EXPECT_EQ(all_permissions(), before);
  // The locks never allowed other processes in between.
  for (const std::string& set : drivers_.permissions) EXPECT_EQ(set.substr(set.find('/')), "/cww-") << set;
  EXPECT_NE(resize("f", 512).find("Permission conflict on node 'f'"), std::string::npos);
  EXPECT_EQ(all_permissions(), before);
  detach(std::move(above));
  detach(std::move(beside));
}

TEST_F(GraphChangeTest, DriversKeepThePermissionsOfBeforeUntilNothingCanFail) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  auto reader = attach("f");
  drivers_.permissions.clear();
  drivers_.resize_error = 1;
  std::vector<GraphStep> steps;
  steps.emplace_back(DetachEdge{&reader});
  steps.emplace_back(ResizeNode{"f", 8192});
  EXPECT_EQ(message(run(graph_.apply(std::move(steps)))), "no space to be had");
  EXPECT_FALSE(drivers_.permissions.empty());
  for (const std::string& set : drivers_.permissions) EXPECT_EQ(set[0], 'c') << set;
  ASSERT_NE(reader, nullptr);
  detach(std::move(reader));
}

// A listener must see every change that ends after it was added.
TEST_F(GraphChangeTest, DriversAreQuiescedFromTheTopWhileAListenerIsAdded) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  add({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}});
  auto reader = attach("r");
  drivers_.stops.clear();
  Listener listener;
  std::vector<GraphStep> steps;
  steps.emplace_back(AddListener{"f", &listener});
  steps.emplace_back(FailChange{"not now"});
  EXPECT_EQ(message(run(graph_.apply(std::move(steps)))), "not now");
  ASSERT_EQ(drivers_.stops.size(), 4u);
  EXPECT_EQ(drivers_.stops[0], "quiesce the filter");
  EXPECT_EQ(drivers_.stops[1], "quiesce the store");
  std::ranges::sort(drivers_.stops);
  EXPECT_EQ(drivers_.stops[2], "resume the filter");
  EXPECT_EQ(drivers_.stops[3], "resume the store");
  detach(std::move(reader));
}

TEST_F(GraphChangeTest, DriversAreQuiescedBeforeTheyAreDestroyed) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  add({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}});
  drivers_.stops.clear();
  for (const char* name : {"r", "f"}) EXPECT_EQ(message(run(graph_.remove(name))), "");
  EXPECT_EQ(drivers_.stops, (std::vector<std::string>{"quiesce the filter", "destroy the filter", "quiesce the store",
                                                      "destroy the store"}));
}

TEST_F(GraphChangeTest, ANodeDoesNotGrowUnderUsersThatDoNot) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  add({{"driver", "raw"}, {"node-name", "part"}, {"file", "f"}, {"offset", 512}});
  auto tolerant = attach("part");
  EXPECT_NE(resize("f", 8192).find("unshared by node 'part'"), std::string::npos);
  auto strict = attach("f", false);
  EXPECT_NE(resize("f", 8192).find("unshared by "), std::string::npos);
  EXPECT_EQ(drivers_.size_bytes, 4096u);
  detach(std::move(strict));
  detach(std::move(tolerant));
}

TEST_F(GraphChangeTest, AResizeThatFailsAnywhereLeavesAllPermissionsAsTheyWere) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  add({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}});
  std::vector<std::unique_ptr<Edge>> edges;
  for (const char* name : {"r", "r", "f"}) edges.push_back(attach(name));
  const auto before = all_permissions();
  // Two nodes need the permission to resize; the first or the second refuses it.
  for (int asked : {0, 1}) {
    drivers_.permissions_until_error = asked;
    EXPECT_EQ(resize("r", 8192), "no lock to be had") << asked;
    drivers_.permissions_until_error = -1;
    EXPECT_EQ(all_permissions(), before) << asked;
  }
  drivers_.resize_error = 1;
  EXPECT_EQ(resize("r", 8192), "no space to be had");
  EXPECT_EQ(all_permissions(), before);
  for (auto& edge : edges) {
    EXPECT_TRUE(edge->is_open());
    detach(std::move(edge));
  }
}

aio::Task<void> resize_and_tell(Graph& graph, bool& done) {
  Result<> resized = co_await graph.resize("f", 8192);
  EXPECT_TRUE(resized);
  done = true;
}

aio::Task<void> detach_and_tell(Graph& graph, std::unique_ptr<Edge> edge, bool& resized, int& detached) {
  co_await graph.detach(std::move(edge));
  EXPECT_TRUE(resized);
  ++detached;
}

TEST_F(GraphChangeTest, UsersThatLeaveDuringAResizeAreReleasedAfterIt) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  std::vector<std::unique_ptr<Edge>> edges;
  for (int i = 0; i < 16; ++i) edges.push_back(attach("f"));
  aio::Event pause(reactor());
  drivers_.resize_pause = &pause;
  bool resized = false;
  int detached = 0;
  start(resize_and_tell(graph_, resized));
  for (auto& edge : edges) start(detach_and_tell(graph_, std::move(edge), resized, detached));
  EXPECT_EQ(drivers_.permissions.back(), "c--r/cww-");
  EXPECT_EQ(detached, 0);
  pause.set();
  until_idle();
  EXPECT_EQ(detached, 16);
  EXPECT_EQ(text_of(graph_.find("f")->permissions()), "----/cwwr");
}

TEST_F(GraphChangeTest, ACancelledResizeIsStillUndone) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  auto edge = attach("f");
  const auto before = all_permissions();
  aio::Event pause(reactor());
  drivers_.resize_pause = &pause;
  aio::Scope scope(reactor());
  bool resized = false;
  scope.spawn("resize", resize_and_tell(graph_, resized));
  scope.cancel();
  pause.set();
  run(scope.join());
  EXPECT_TRUE(resized);
  EXPECT_EQ(all_permissions(), before);
  EXPECT_TRUE(edge->is_open());
  detach(std::move(edge));
}

aio::Task<void> attach_and_tell(Graph& graph, std::string& error) {
  auto edge = co_await graph.attach("f", {.name = "root"}, kReader);
  error = edge ? "" : edge.error().message();
}

aio::Task<void> remove_node(Graph& graph) {
  EXPECT_TRUE(co_await graph.remove("f"));
}

TEST_F(GraphChangeTest, ANodeThatIsRemovedWhileAUserWaitsForItIsNotFound) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  aio::Event pause(reactor());
  drivers_.resize_pause = &pause;
  bool resized = false;
  std::string error;
  start(resize_and_tell(graph_, resized));
  start(remove_node(graph_));
  start(attach_and_tell(graph_, error));
  pause.set();
  until_idle();
  EXPECT_EQ(error, "Cannot find device='' nor node-name='f'");
}

aio::Task<void> remove_filter(Graph& graph) {
  EXPECT_TRUE(co_await graph.remove("r"));
}

// The change removes the parent's name before it flushes the child.
TEST_F(GraphChangeTest, QueriesSeeANodeUntilItsRemovalIsCommitted) {
  add({{"driver", "raw"}, {"node-name", "r"}, {"file", json::Object{{"driver", "null-co"}, {"node-name", "in"}}}});
  graph_.find("in")->require_flush();
  aio::Event pause(reactor());
  drivers_.flush_pause = &pause;
  start(remove_filter(graph_));
  EXPECT_EQ(graph_.find("r"), nullptr);
  for (const GraphNode& entry : graph_.nodes()) EXPECT_EQ(&graph_.about(*entry.node), &entry);
  EXPECT_EQ(graph_.nodes().size(), 2u);
  pause.set();
  until_idle();
  EXPECT_TRUE(graph_.nodes().empty());
}

aio::Task<void> look_and_tell(Graph& graph, bool& looked) {
  const auto guard = co_await graph.keep_unchanged();
  EXPECT_TRUE(guard);
  looked = true;
}

// Both may write the tables of a large image. Other changes wait for them.
TEST_F(GraphChangeTest, QueriesDoNotWaitForAResizeOrTheLastFlushOfANode) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  aio::Event pause(reactor());
  drivers_.resize_pause = drivers_.flush_pause = &pause;
  bool resized = false;
  bool looked = false;
  std::string attached = "waits";
  start(resize_and_tell(graph_, resized));
  start(look_and_tell(graph_, looked));
  start(attach_and_tell(graph_, attached));
  EXPECT_TRUE(looked);
  EXPECT_FALSE(resized);
  EXPECT_EQ(attached, "waits");
  pause.set();
  until_idle();
  EXPECT_EQ(attached, "");

  pause.reset();
  graph_.find("f")->require_flush();
  looked = false;
  start(remove_node(graph_));
  start(look_and_tell(graph_, looked));
  EXPECT_TRUE(looked);
  EXPECT_NE(graph_.find("f"), nullptr);
  pause.set();
  until_idle();
  EXPECT_TRUE(graph_.nodes().empty());
}

TEST_F(GraphChangeTest, ANodeThatNoCommandMadeIsRemovedWithItsLastUser) {
  add({{"driver", "raw"}, {"node-name", "r"}, {"file", json::Object{{"driver", "null-co"}, {"node-name", "in"}}}});
  auto edge = attach("in");
  EXPECT_EQ(message(run(graph_.remove("r"))), "");
  ASSERT_NE(graph_.find("in"), nullptr);
  detach(std::move(edge));
  EXPECT_EQ(graph_.find("in"), nullptr);
}

aio::Task<void> close_and_tell(Graph& graph, bool& closed) {
  co_await graph.close();
  closed = true;
}

TEST_F(GraphChangeTest, ClosingWaitsForTheLastRootEdge) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  auto edge = attach("f");
  bool closed = false;
  std::string error;
  start(close_and_tell(graph_, closed));
  start(attach_and_tell(graph_, error));
  reactor().run_once(0);
  EXPECT_FALSE(closed);
  EXPECT_EQ(error, "The block graph is being closed");
  start(graph_.detach(std::move(edge)));
  until_idle();
  EXPECT_TRUE(closed);
  EXPECT_TRUE(graph_.nodes().empty());
}

TEST_F(GraphChangeTest, RefusesNodesThatAreTooLarge) {
  drivers_.size_bytes = kNodeBytesMax + 1;
  auto decoded = schema::decode<schema::BlockdevOptions>(json::Object({{"driver", "null-co"}, {"node-name", "f"}}));
  EXPECT_EQ(message(run(graph_.add(std::move(*decoded)))), "Could not refresh total sector count: File too large");
  EXPECT_TRUE(graph_.nodes().empty());
  drivers_.size_bytes = kNodeBytesMax;
  add({{"driver", "null-co"}, {"node-name", "f"}});
  EXPECT_EQ(resize("f", INT64_MAX), "offset(9223372036854775807) exceeds maximum(9223372035781033984)");
}

// A change of one edge costs the same, however many edges there are: with the square of their number this would take
// many times the bar.
// Of this process: other load on the machine does not count. What grows with the square of the number takes minutes.
double processor_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

struct Partner final : ChangePartner {
  Result<> decide() override {
    ++decisions;
    if (refuses) return fail("not now");
    return {};
  }
  void commit() override { ++commits; }

  bool refuses = false;
  int decisions = 0;
  int commits = 0;
};

TEST_F(GraphChangeTest, ARetiredNodeKeepsItsUsersAndGivesItsNameAway) {
  add({{"driver", "null-co"}, {"node-name", "f"}});
  auto user_of_old = attach("f");
  const Node* old_node = graph_.find("f");
  Partner partner;
  auto replace = [&] {
    auto options = schema::decode<schema::BlockdevOptions>(json::Object{{"driver", "null-co"}, {"node-name", "f"}});
    std::vector<GraphStep> steps;
    steps.emplace_back(RetireNode{"f"});
    steps.emplace_back(AddNode{std::move(*options)});
    steps.emplace_back(CallPartner{&partner});
    return message(run(graph_.apply(std::move(steps))));
  };
  partner.refuses = true;
  EXPECT_EQ(replace(), "not now");
  EXPECT_EQ(graph_.find("f"), old_node);
  EXPECT_EQ(graph_.nodes().size(), 1u);
  partner.refuses = false;
  EXPECT_EQ(replace(), "");
  EXPECT_EQ(partner.decisions, 2);
  EXPECT_EQ(partner.commits, 1);
  EXPECT_NE(graph_.find("f"), old_node);
  EXPECT_EQ(&user_of_old->node(), old_node);
  EXPECT_TRUE(graph_.about(*old_node).shown_name().starts_with("#block"));
  EXPECT_EQ(graph_.nodes().size(), 2u);
  detach(std::move(user_of_old));
  EXPECT_EQ(graph_.nodes().size(), 1u);
  EXPECT_NE(graph_.find("f"), nullptr);
}

TEST_F(GraphChangeTest, ARetiredNodeWithoutUsersIsRemovedWithItsChildren) {
  add({{"driver", "raw"}, {"node-name", "r"}, {"file", json::Object{{"driver", "null-co"}, {"node-name", "f"}}}});
  std::vector<GraphStep> steps;
  steps.emplace_back(RetireNode{"r"});
  EXPECT_EQ(message(run(graph_.apply(std::move(steps)))), "");
  EXPECT_TRUE(graph_.nodes().empty());
}

TEST_F(GraphChangeTest, ManyUsersOfOneNodeCostNoMoreEach) {
  constexpr int kUsers = 30'000;
  constexpr double kSecondsMax = 20;
  add({{"driver", "null-co"}, {"node-name", "f"}});
  add({{"driver", "raw"}, {"node-name", "r"}, {"file", "f"}});
  const double started_seconds = processor_seconds();
  std::vector<std::unique_ptr<Edge>> edges;
  for (int i = 0; i < kUsers; ++i) edges.push_back(attach(i % 2 == 0 ? "r" : "f"));
  EXPECT_EQ(resize("f", 8192), "");
  for (auto& edge : edges) detach(std::move(edge));
  EXPECT_LT(processor_seconds() - started_seconds, kSecondsMax);
}

TEST_F(GraphChangeTest, ManyNodesOnOneCostNoMoreEach) {
  constexpr int kNodes = 20'000;
  constexpr double kSecondsMax = 30;
  const double started_seconds = processor_seconds();
  add({{"driver", "null-co"}, {"node-name", "f"}});
  for (int i = 0; i < kNodes; ++i) {
    add({{"driver", "raw"}, {"node-name", "n" + std::to_string(i)}, {"file", "f"}});
  }
  for (int i = 0; i < kNodes / 2; ++i) EXPECT_EQ(message(run(graph_.remove("n" + std::to_string(i)))), "");
  run(graph_.close());
  EXPECT_TRUE(graph_.nodes().empty());
  EXPECT_LT(processor_seconds() - started_seconds, kSecondsMax);
}

}  // namespace
}  // namespace blockexport::block
