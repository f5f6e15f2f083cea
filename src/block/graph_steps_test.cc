// Changes of several steps in which each call of a driver fails once: every failure leaves the graph exactly as it was,
// while clients read on another reactor.
//
// With BLOCKEXPORT_THOROUGH in the environment it runs 10,000 seeds. A failure names its seed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aio/task/current.h"
#include "aio/testing/interleaving.h"
#include "block/graph.h"
#include "block/reopen_children.h"
#include "json/writer.h"
#include "schema/codec.h"

namespace blockexport::block {
namespace {

constexpr std::uint64_t kBytes = 4096;

// The drivers of a test, and their state. Outlives the graph.
struct ScriptedDrivers final : DriverTable {
  explicit ScriptedDrivers(aio::Random& random_source) : random(random_source) {}

  aio::Task<Result<std::unique_ptr<Driver>>> open(const schema::BlockdevOptions& options, const NodeOptions&,
                                                  ChildOpener& children) override;

  // Each call that may fail awaits this: it takes a while, and fails if it is the chosen call.
  aio::Task<Result<>> call(const char* name) {
    if (random.one_in(2)) {
      aio::Reactor& reactor = co_await aio::current_reactor();
      (void)co_await reactor.sleep_until(reactor.now_ns() + random.below(50'000));
    }
    if (calls_until_failure && (*calls_until_failure)-- == 0) {
      failed_call = name;
      calls_until_failure.reset();
      co_return fail(fmt::format("{} fails", name));
    }
    co_return Result<>();
  }

  aio::Random& random;
  std::optional<std::uint64_t> calls_until_failure;
  std::string failed_call;
  int drivers = 0;
  std::uint64_t children_added = 0;  // by reopens that succeeded
  std::uint64_t children_dropped = 0;
};

// Of options that have a child "target": the child, which the driver below goes without when it is named as "file" is.
const schema::BlockdevRef* second_child_of(const schema::BlockdevOptions& options) {
  const auto* both = options.as_if<schema::BlockdevDriver::kCopyBeforeWrite>();
  if (both == nullptr) return nullptr;
  const std::string* name = both->target.reference();
  return name != nullptr && *name == *both->file.reference() ? nullptr : &both->target;
}

// A store, or a filter with one or two children, that checks only the order of its calls.
class ScriptedDriver final : public Driver {
 public:
  ScriptedDriver(ScriptedDrivers& drivers, std::unique_ptr<Edge> file, std::unique_ptr<Edge> second)
      : drivers_(drivers), file_(std::move(file)), second_(std::move(second)) {
    ++drivers_.drivers;
  }
  ~ScriptedDriver() override {
    EXPECT_FALSE(is_preparing_);
    EXPECT_EQ(requests_.load(), 0);
    --drivers_.drivers;
  }

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override {
    ++requests_;
    EXPECT_FALSE(is_preparing_) << "a request during a reopen";
    aio::Reactor& reactor = co_await aio::current_reactor();
    (void)co_await reactor.sleep_until(reactor.now_ns() + 5'000);
    IoResult result;
    if (file_ != nullptr) result = co_await file_->node().read(range, buffers);
    --requests_;
    co_return result;
  }
  aio::Task<IoResult> write(Range, IoBuffers, WriteOptions) override { co_return IoResult(); }
  aio::Task<IoResult> write_zeroes(Range, ZeroOptions) override { co_return IoResult(); }
  aio::Task<IoResult> discard(Range) override { co_return IoResult(); }
  aio::Task<IoResult> flush() override {
    Result<> result = co_await drivers_.call("flush");
    if (result) co_return IoResult();
    co_return fail(EIO);
  }
  aio::Task<IoResult> extents(Range, Extents&) override { co_return IoResult(); }
  aio::Task<IoResult> prefetch(Range) override { co_return IoResult(); }
  std::uint64_t size_bytes() const override { return file_ != nullptr ? file_->node().size_bytes() : size_bytes_; }
  Limits limits() const override {
    Limits limits;
    limits.optimal_bytes = file_ != nullptr ? file_->node().limits().optimal_bytes : 4096u << generation_ % 4;
    return limits;
  }
  std::string_view format_name() const override { return file_ != nullptr ? "raw" : "null-co"; }
  std::vector<Edge*> children() const override {
    std::vector<Edge*> all;
    if (file_ != nullptr) all.push_back(file_.get());
    if (second_ != nullptr) all.push_back(second_.get());
    return all;
  }

  // As with a lock on a file, releasing never fails.
  aio::Task<Result<>> set_permissions(Permissions permissions) override {
    const bool gives_up_only = held_.used.contains(permissions.used) && permissions.shared.contains(held_.shared);
    if (!gives_up_only) CO_TRY(co_await drivers_.call("set_permissions"));
    held_ = permissions;
    co_return Result<>();
  }
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override {
    if (file_ != nullptr) co_return co_await file_->node().resize(size_bytes);
    EXPECT_EQ(requests_.load(), 0);
    CO_TRY(co_await drivers_.call("resize"));
    size_bytes_ = size_bytes;
    co_return Result<>();
  }
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions&, const schema::BlockdevOptions& after, NodeOptions&,
                                     ReopenChildren& children) override {
    EXPECT_FALSE(is_preparing_);
    EXPECT_EQ(requests_.load(), 0);
    CO_TRY(co_await drivers_.call("prepare_reopen"));
    CO_TRY(change_children(after, children));
    if (Result<> result = co_await drivers_.call("prepare_reopen with its children"); !result) {
      restore_children();
      co_return result;
    }
    is_preparing_ = true;
    co_return Result<>();
  }
  aio::Task<void> commit_reopen() override {
    EXPECT_TRUE(is_preparing_);
    drivers_.children_added += second_ != nullptr && is_second_new_ ? 1 : 0;
    drivers_.children_dropped += dropped_ != nullptr ? 1 : 0;
    is_preparing_ = false;
    is_second_new_ = false;
    dropped_.reset();
    ++generation_;
    co_return;
  }
  aio::Task<void> abort_reopen() override {
    EXPECT_TRUE(is_preparing_);
    is_preparing_ = false;
    restore_children();
    co_return;
  }

  const Permissions& held() const { return held_; }
  bool is_preparing() const { return is_preparing_; }

 private:
  // The new child comes before the old one goes, so that both may be users of one node.
  Result<> change_children(const schema::BlockdevOptions& after, ReopenChildren& children) {
    const schema::BlockdevRef* wanted = second_child_of(after);
    std::unique_ptr<Edge> added;
    if (wanted != nullptr && (second_ == nullptr || after.detect_zeroes)) {
      TRY_ASSIGN(added, children.add_child(*wanted, "target", ChildRole::kMetadata));
    }
    if (second_ != nullptr && (wanted == nullptr || added != nullptr)) {
      children.drop_child(*second_);
      dropped_ = std::move(second_);
    }
    if (added != nullptr) {
      second_ = std::move(added);
      is_second_new_ = true;
    }
    return {};
  }
  void restore_children() {
    if (std::exchange(is_second_new_, false)) second_.reset();
    if (dropped_ != nullptr) second_ = std::move(dropped_);
  }

  ScriptedDrivers& drivers_;
  std::unique_ptr<Edge> file_;
  std::unique_ptr<Edge> second_;
  std::unique_ptr<Edge> dropped_;  // between prepare_reopen and its end
  bool is_second_new_ = false;     // likewise
  Permissions held_;
  std::uint64_t size_bytes_ = kBytes;
  std::uint32_t generation_ = 0;
  std::atomic<int> requests_ = 0;
  bool is_preparing_ = false;
};

aio::Task<Result<std::unique_ptr<Driver>>> ScriptedDrivers::open(const schema::BlockdevOptions& options,
                                                                 const NodeOptions&, ChildOpener& children) {
  std::unique_ptr<Edge> file;
  if (const auto* raw = options.as_if<schema::BlockdevDriver::kRaw>()) {
    CO_TRY_ASSIGN(file, co_await children.open_child(raw->file, "file", ChildRole::kFiltered));
  }
  std::unique_ptr<Edge> second;
  if (const auto* both = options.as_if<schema::BlockdevDriver::kCopyBeforeWrite>()) {
    CO_TRY_ASSIGN(file, co_await children.open_child(both->file, "file", ChildRole::kFiltered));
    if (const schema::BlockdevRef* wanted = second_child_of(options)) {
      CO_TRY_ASSIGN(second, co_await children.open_child(*wanted, "target", ChildRole::kMetadata));
    }
  }
  CO_TRY(co_await call("open"));
  co_return std::make_unique<ScriptedDriver>(*this, std::move(file), std::move(second));
}

std::string text_of(PermissionSet set) {
  std::string text;
  for (Permission permission : kAllPermissions) text += set.has(permission) ? permission_text(permission)[0] : '-';
  return text;
}

std::string text_of(const Permissions& permissions) {
  return text_of(permissions.used) + "/" + text_of(permissions.shared);
}

// A root edge and the client that reads through it.
struct Client {
  std::string node;
  Permissions permissions;
  std::unique_ptr<Edge> edge;
  bool stop = false;
  bool runs = false;
  std::uint64_t reads = 0;
};

aio::Task<void> keep_reading(Client& client) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  std::vector<std::byte> buffer(512);
  const iovec vector{.iov_base = buffer.data(), .iov_len = buffer.size()};
  while (!client.stop) {
    if (!co_await client.edge->enter()) break;
    EXPECT_TRUE((co_await client.edge->node().read({0, 512}, {&vector, 1})).has_value());
    client.edge->leave();
    ++client.reads;
    (void)co_await reactor.sleep_until(reactor.now_ns() + 20'000);
  }
  client.runs = false;
}

// A random change, created again for every attempt.
struct Plan {
  std::vector<GraphStep> steps;
  std::vector<std::unique_ptr<Client>> attached;  // in the order of their steps
  std::vector<Client*> detached;
  std::vector<std::string> names;  // of nodes that exist, or that the change adds
  std::string text;
};

class Course {
 public:
  explicit Course(std::uint64_t seed)
      : seed_(seed),
        world_(2, {.seed = seed, .latency_max_ns = 50'000}),
        random_(seed * 7919),
        drivers_(random_),
        graph_(world_.control(), drivers_, trace_) {}

  // Makes changes, each with every failure that it can have, and removes everything at the end.
  void run() {
    for (int change = 0; change < 40 && !testing::Test::HasFailure(); ++change) make_change(random_.next());
    for (auto& client : clients_) stop(*client);
    for (auto& client : clients_) world_.run(graph_.detach(std::move(client->edge)));
    world_.run(graph_.close());
    EXPECT_TRUE(graph_.nodes().empty());
    EXPECT_EQ(drivers_.drivers, 0);
  }
  // Reopens a node without a child that its options had defined.
  void drop_defined_child() {
    const json::Object node{{"driver", "copy-before-write"}, {"node-name", "c"}, {"file", "f"}};
    json::Object with_child = node;
    with_child.set("target", json::Object{{"driver", "null-co"}, {"node-name", "t"}});
    json::Object without_child = node;
    without_child.set("target", "f");
    make({AddNode{options_of({{"driver", "null-co"}, {"node-name", "f"}})}, AddNode{options_of(with_child)}});
    EXPECT_NE(graph_.find("t"), nullptr);
    make({ReopenNodes{{options_of(without_child)}}});
    EXPECT_EQ(graph_.find("t"), nullptr) << dump();
    world_.run(graph_.close());
  }
  std::uint64_t reads() const { return reads_; }
  std::uint64_t children_added() const { return drivers_.children_added; }
  std::uint64_t children_dropped() const { return drivers_.children_dropped; }
  std::uint64_t failures() const { return failures_; }
  std::uint64_t successes() const { return successes_; }

 private:
  static schema::BlockdevOptions options_of(const json::Object& members) {
    auto decoded = schema::decode<schema::BlockdevOptions>(json::Value(members));
    EXPECT_TRUE(decoded) << decoded.error().message();
    return *decoded;
  }
  // Usually a node that will exist; sometimes any name, for changes that are refused.
  static std::string node_name(aio::Random& random, const Plan& plan) {
    if (plan.names.empty() || random.one_in(20)) return new_name(random);
    return plan.names[random.below(plan.names.size())];
  }
  static std::string new_name(aio::Random& random) { return fmt::format("n{}", random.below(40)); }

  static json::Object some_options(aio::Random& random, Plan& plan) {
    std::string name = new_name(random);
    json::Object object{{"node-name", name}};
    if (random.one_in(12)) object.set("read-only", true);
    if (random.one_in(4)) object.set("detect-zeroes", "on");
    if (random.one_in(3)) {
      object.set("driver", "null-co");
    } else if (random.one_in(2)) {
      object.set("driver", "copy-before-write");
      const std::string file = node_name(random, plan);
      object.set("file", file);
      if (random.one_in(3)) {
        object.set("target", json::Object{{"driver", "null-co"}, {"node-name", fmt::format("i{}", random.below(40))}});
      } else {
        object.set("target", random.one_in(2) ? file : node_name(random, plan));
      }
    } else {
      object.set("driver", "raw");
      if (random.one_in(3)) {
        object.set("file", json::Object{{"driver", "null-co"}, {"node-name", fmt::format("i{}", random.below(40))}});
      } else {
        object.set("file", node_name(random, plan));
      }
    }
    plan.names.push_back(std::move(name));
    return object;
  }

  // A node whose children can come and go, or any node.
  std::string name_for_reopen(aio::Random& random, const Plan& plan) {
    std::vector<std::string> names;
    for (const GraphNode& entry : graph_.nodes()) {
      if (child_reference(entry.options, "target")) names.push_back(entry.node->name());
    }
    if (names.empty() || random.one_in(2)) return node_name(random, plan);
    return names[random.below(names.size())];
  }

  // Options for a reopen: usually those of the node, with one difference.
  schema::BlockdevOptions reopen_options(aio::Random& random, Plan& plan) {
    Node* node = graph_.find(name_for_reopen(random, plan));
    if (node == nullptr || random.one_in(20)) return options_of(some_options(random, plan));
    schema::BlockdevOptions options = graph_.about(*node).options;
    options.read_only = random.one_in(8);
    if (child_reference(options, "file") && random.one_in(2)) {
      set_child_reference(options, "file", node_name(random, plan));
    }
    if (child_reference(options, "target") && !random.one_in(4)) {
      const std::string second = random.one_in(2) ? *child_reference(options, "file")->node : node_name(random, plan);
      set_child_reference(options, "target", second);
      options.detect_zeroes.reset();
      if (random.one_in(3)) options.detect_zeroes = schema::BlockdevDetectZeroesOptions::kOn;
    }
    return options;
  }

  static BitmapName bitmap_name(aio::Random& random, const Plan& plan) {
    return {node_name(random, plan), fmt::format("b{}", random.below(3))};
  }

  static GraphStep draw_bitmap_step(aio::Random& random, Plan& plan) {
    switch (random.below(8)) {
      case 0:
        return RemoveBitmap{bitmap_name(random, plan)};
      case 1:
        return ClearBitmap{bitmap_name(random, plan)};
      case 2:
        return EnableBitmap{bitmap_name(random, plan)};
      case 3:
        return DisableBitmap{bitmap_name(random, plan)};
      case 4: {
        MergeBitmaps step{.target = bitmap_name(random, plan), .sources = {}};
        for (std::uint64_t count = random.between(1, 2); count > 0; --count) {
          step.sources.push_back(bitmap_name(random, plan));
        }
        return step;
      }
      default:
        return AddBitmap{.bitmap = bitmap_name(random, plan),
                         .granularity_bytes = 512u << random.below(3),
                         .enabled = !random.one_in(4)};
    }
  }

  GraphStep draw_step(aio::Random& random, Plan& plan) {
    if (random.one_in(4)) return draw_bitmap_step(random, plan);
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2:
        return AddNode{options_of(some_options(random, plan))};
      case 3:
        return RemoveNode{node_name(random, plan)};
      case 4:
      case 10:
      case 11: {
        ReopenNodes step;
        for (std::uint64_t count = random.between(1, 2); count > 0; --count) {
          step.options.push_back(reopen_options(random, plan));
        }
        return step;
      }
      case 5:
        return ReplaceNode{node_name(random, plan), node_name(random, plan)};
      case 6:
        if (!clients_.empty()) {
          Client* leaving = clients_[random.below(clients_.size())].get();
          if (std::ranges::find(plan.detached, leaving) == plan.detached.end()) {
            plan.detached.push_back(leaving);
            return DetachEdge{&leaving->edge};
          }
        }
        [[fallthrough]];
      default: {
        auto client = std::make_unique<Client>();
        client->node = node_name(random, plan);
        client->permissions.used = Permission::kConsistentRead;
        if (random.one_in(4)) client->permissions.used = client->permissions.used | Permission::kWrite;
        if (random.one_in(8)) client->permissions.shared = PermissionSet::all() - Permission::kWrite;
        client->permissions.shared = client->permissions.shared - Permission::kResize;
        AttachEdge step{.name = client->node,
                        .parent = {.name = "root", .description = "a client", .tolerates_growth = random.one_in(2)},
                        .permissions = client->permissions,
                        .attached = &client->edge};
        plan.attached.push_back(std::move(client));
        return step;
      }
    }
  }

  Plan draw(std::uint64_t plan_seed) {
    aio::Random random(plan_seed);
    Plan plan;
    for (const GraphNode& entry : graph_.nodes()) plan.names.push_back(entry.node->name());
    for (std::uint64_t count = random.between(1, 4); count > 0; --count) {
      plan.steps.push_back(draw_step(random, plan));
    }
    if (random.one_in(6)) {
      const auto size = static_cast<std::int64_t>(kBytes << random.below(3));
      plan.steps.insert(plan.steps.end() - (random.one_in(8) ? 1 : 0), ResizeNode{node_name(random, plan), size});
    }
    for (const GraphStep& step : plan.steps) plan.text += fmt::format(" {}", step.index());
    return plan;
  }

  // The complete state that a change could alter.
  std::string dump() {
    std::string text;
    for (const GraphNode& entry : graph_.nodes()) {
      Node& node = *entry.node;
      auto& driver = static_cast<ScriptedDriver&>(node.driver());
      json::Value options = schema::encode(entry.options);
      text += fmt::format(
          "{} {} owned={} {} read-only={} zeroes={} size={} optimal={} perm={} told={} preparing={}\n", node.name(),
          json::to_string(options), entry.owned_by_user, graph_.find(node.name()) == &node ? "found" : "not found",
          node.options().read_only, static_cast<int>(node.options().detect_zeroes), node.size_bytes(),
          node.limits().optimal_bytes, text_of(node.permissions()), text_of(driver.held()), driver.is_preparing());
      for (const auto& bitmap : node.bitmaps().list().all()) {
        std::vector<std::uint64_t> words(bitmap->bits().word_count());
        bitmap->bits().copy_words(0, words);
        text += fmt::format("  bitmap {} of {}/{} enabled={} busy={} {:x}\n", bitmap->name(),
                            bitmap->bits().size_bytes(), bitmap->bits().granularity_bytes(), bitmap->is_enabled(),
                            bitmap->is_busy(), fmt::join(words, " "));
      }
      for (Edge& edge : node.parents()) {
        text += fmt::format("  {} of {} {} {} open={}\n", static_cast<const void*>(&edge),
                            edge.is_root() ? "a client" : edge.parent().node->name(), edge.name(),
                            text_of(edge.permissions()), edge.is_open());
      }
    }
    return text;
  }

  // The invariants between changes.
  void check() {
    for (const GraphNode& entry : graph_.nodes()) {
      Node& node = *entry.node;
      EXPECT_FALSE(node.bitmaps().is_behind(node.size_bytes())) << dump();
      const auto& driver = static_cast<ScriptedDriver&>(node.driver());
      PermissionTotals totals;
      for (Edge& edge : node.parents()) totals.add(edge.permissions());
      EXPECT_TRUE(totals.get_along()) << dump();
      EXPECT_EQ(text_of(totals.together()), text_of(node.permissions())) << node.name() << "\n" << dump();
      EXPECT_EQ(text_of(node.permission_totals().together()), text_of(node.permissions())) << node.name();
      EXPECT_EQ(text_of(driver.held()), text_of(node.permissions())) << node.name() << "\n" << dump();
      EXPECT_TRUE(entry.owned_by_user || !node.parents().empty()) << node.name() << "\n" << dump();
      if (schema::BlockdevOptions options = entry.options; const auto reference = child_reference(options, "file")) {
        const std::vector<Edge*> children = driver.children();
        ASSERT_GE(children.size(), 1u);
        const schema::BlockdevRef* second = second_child_of(options);
        if (children.size() > 1 && second != nullptr && second->reference() != nullptr) {
          EXPECT_EQ(*second->reference(), children[1]->node().name());
        }
        const Node& child = children[0]->node();
        if (reference->node != nullptr) EXPECT_EQ(*reference->node, child.name()) << dump();
        EXPECT_EQ(node.limits().optimal_bytes, child.limits().optimal_bytes) << node.name() << "\n" << dump();
      }
    }
  }

  aio::Task<void> apply(std::vector<GraphStep> steps, Result<>& result) {
    result = co_await graph_.apply(std::move(steps));
  }

  void make(std::vector<GraphStep> steps) {
    Result<> result;
    world_.run(apply(std::move(steps), result));
    EXPECT_TRUE(result) << result.error().message();
  }

  void make_change(std::uint64_t plan_seed) {
    for (std::uint64_t failing = 0;; ++failing) {
      Plan plan = draw(plan_seed);
      SCOPED_TRACE(fmt::format("seed {}, steps{}, call {} fails", seed_, plan.text, failing));
      for (Client* client : plan.detached) stop(*client);
      const std::string before = dump();
      drivers_.calls_until_failure = failing;
      drivers_.failed_call.clear();
      Result<> result;
      world_.run(apply(std::move(plan.steps), result));
      const bool failed = std::exchange(drivers_.calls_until_failure, std::nullopt) == std::nullopt;
      if (!result) {
        ++failures_;
        EXPECT_EQ(dump(), before) << drivers_.failed_call << ": " << result.error().message();
        for (auto& client : plan.attached) EXPECT_EQ(client->edge, nullptr);
        for (Client* client : plan.detached) start(*client);
      } else {
        ++successes_;
        for (auto& client : plan.attached) {
          ASSERT_NE(client->edge, nullptr);
          start(*client);
          clients_.push_back(std::move(client));
        }
        std::erase_if(clients_, [](const auto& client) { return client->edge == nullptr; });
      }
      check();
      mark_some();
      // The flush of a node that goes may fail: nobody can be told.
      if (!failed || testing::Test::HasFailure() || result) return;
    }
  }

  // As writes would, so that bitmaps differ.
  void mark_some() {
    for (const GraphNode& entry : graph_.nodes()) {
      for (const auto& bitmap : entry.node->bitmaps().list().all()) {
        if (random_.one_in(3)) bitmap->mark({random_.below(kBytes), 1});
      }
    }
  }

  void start(Client& client) {
    client.stop = false;
    client.runs = true;
    world_.data_reactor(1).scope.spawn("client", keep_reading(client));
  }
  void stop(Client& client) {
    client.stop = true;
    world_.run(wait_for_end(client));
    reads_ += std::exchange(client.reads, 0);
  }
  aio::Task<void> wait_for_end(Client& client) {
    aio::Reactor& reactor = world_.control();
    while (client.runs) (void)co_await reactor.sleep_until(reactor.now_ns() + 10'000);
  }

  std::uint64_t seed_;
  aio::testing::Interleaving world_;
  aio::Random random_;
  ScriptedDrivers drivers_;
  Trace trace_;
  Graph graph_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::uint64_t reads_ = 0;
  std::uint64_t failures_ = 0;
  std::uint64_t successes_ = 0;
};

TEST(GraphStepsTest, ANodeThatOnlyADroppedChildUsedLeavesTheGraph) {
  Course(1).drop_defined_child();
}

// The test does not depend on a kernel's rings and files: it runs once, with the tests of the simulation.
TEST(GraphStepsTest, EveryFailureLeavesTheGraphAsItWas) {
  const char* backend = std::getenv("BLOCKEXPORT_TEST_BACKEND");
  if (backend != nullptr && std::string_view(backend) != "simulation") GTEST_SKIP() << "the test is entirely simulated";
  const std::uint64_t seeds = std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 10'000 : 60;
  std::uint64_t reads = 0;
  std::uint64_t failures = 0;
  std::uint64_t successes = 0;
  std::uint64_t children_added = 0;
  std::uint64_t children_dropped = 0;
  for (std::uint64_t seed = 1; seed <= seeds && !HasFailure(); ++seed) {
    Course course(seed);
    course.run();
    reads += course.reads();
    failures += course.failures();
    successes += course.successes();
    children_added += course.children_added();
    children_dropped += course.children_dropped();
  }
  std::printf("%llu seeds: %llu changes that failed, %llu that were made, %llu reads meanwhile\n",
              static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(failures),
              static_cast<unsigned long long>(successes), static_cast<unsigned long long>(reads));
  EXPECT_GT(failures, seeds * 10);
  EXPECT_GT(successes, seeds * 3);
  EXPECT_GT(reads, seeds * 10);
  EXPECT_GT(children_added, seeds / 20);
  EXPECT_GT(children_dropped, seeds / 20);
}

}  // namespace
}  // namespace blockexport::block
