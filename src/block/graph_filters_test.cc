// Filters of every kind are inserted between a node and its users, replaced and removed, while clients write on several
// reactors: every read must agree with a model. A failure names its seed.
//
// With BLOCKEXPORT_THOROUGH in the environment each run is many times as long.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "block/graph.h"
#include "block/testing/filter_drivers.h"
#include "block/testing/reactors.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::block {
namespace {

constexpr std::uint64_t kBytes = 16u << 10;
constexpr std::size_t kWriters = 4;

// The drivers of a test run, selected by the beginning of a node's name. Outlives the graph.
struct FilterDrivers final : DriverTable {
  explicit FilterDrivers(Reactors& all_reactors) : reactors(all_reactors) {}

  aio::Task<Result<std::unique_ptr<Driver>>> open(const schema::BlockdevOptions& options, const NodeOptions&,
                                                  ChildOpener& children) override {
    const std::string_view name = *options.node_name;
    const auto* raw = options.as_if<schema::BlockdevDriver::kRaw>();
    if (raw == nullptr) {
      auto store = std::make_unique<Store>(name == "base" ? kBytes : 0);
      if (name == "base") base = store.get();
      co_return store;
    }
    CO_TRY_ASSIGN(std::unique_ptr<Edge> file, co_await children.open_child(raw->file, "file", ChildRole::kFiltered));
    if (name.starts_with("log")) {
      schema::BlockdevOptions store;
      store.node_name = fmt::format("store-of-{}", name);
      store.branch.emplace<static_cast<std::size_t>(schema::BlockdevDriver::kNullCo)>();
      schema::BlockdevRef reference;
      reference.value = std::move(store);
      CO_TRY_ASSIGN(std::unique_ptr<Edge> log, co_await children.open_child(reference, "log", ChildRole::kMetadata));
      logged_bytes.push_back(std::make_unique<std::atomic<std::uint64_t>>(0));
      co_return std::make_unique<LoggingFilter>(std::move(file), std::move(log), *logged_bytes.back());
    }
    if (name.starts_with("scrub")) co_return std::make_unique<ScrubbingFilter>(reactors.control(), std::move(file));
    if (name.starts_with("home")) {
      co_return std::make_unique<HomeFilter>(reactors.place(reactors.size() - 1), std::move(file));
    }
    // No request is under way: the listener was added in the same change.
    bytes_then.assign(base->bytes().begin(), base->bytes().end());
    co_return std::make_unique<OlderStateFilter>(std::move(file), *older_state);
  }

  Reactors& reactors;
  Store* base = nullptr;
  std::vector<std::unique_ptr<std::atomic<std::uint64_t>>> logged_bytes;
  std::unique_ptr<OlderState> older_state;
  std::vector<std::byte> bytes_then;
};

// A client that is the only writer of its slice, and knows its content.
class Writer {
 public:
  Writer(Range slice, std::uint64_t seed) : slice_(slice), random_(seed), expected_(slice.length) {}

  aio::Task<void> run() {
    while (!stop && !testing::Test::HasFailure()) {
      const std::uint64_t offset = random_.below(slice_.length);
      const Range range{slice_.offset + offset,
                        1 + random_.below(std::min<std::uint64_t>(slice_.length - offset, 700))};
      co_await (random_.one_in(2) ? write(range) : check(range));
      ++requests;
      if (random_.one_in(3)) co_await aio::next_turn();
    }
  }

  std::unique_ptr<Edge> edge;
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> requests = 0;

 private:
  aio::Task<void> write(Range range) {
    const std::span<std::byte> part = std::span(expected_).subspan(range.offset - slice_.offset, range.length);
    std::ranges::fill(part, static_cast<std::byte>(random_.below(256)));
    const iovec vector{part.data(), part.size()};
    if (!co_await edge->enter()) co_return;
    IoResult result = fail(EAGAIN);
    if (random_.one_in(2)) result = edge->node().try_write(co_await aio::current_reactor(), range, {&vector, 1});
    if (!result) result = co_await edge->node().write(range, {&vector, 1}, {.force_unit_access = random_.one_in(8)});
    edge->leave();
    EXPECT_TRUE(result.has_value());
  }
  aio::Task<void> check(Range range) {
    std::vector<std::byte> got(range.length);
    const iovec vector{got.data(), got.size()};
    if (!co_await edge->enter()) co_return;
    IoResult result = fail(EAGAIN);
    if (random_.one_in(2)) result = edge->node().try_read(co_await aio::current_reactor(), range, {&vector, 1});
    if (!result) result = co_await edge->node().read(range, {&vector, 1});
    edge->leave();
    EXPECT_TRUE(result.has_value());
    EXPECT_TRUE(std::ranges::equal(got, std::span(expected_).subspan(range.offset - slice_.offset, range.length)))
        << "a client did not read the bytes that it had written, at " << range.offset;
  }

  Range slice_;
  aio::Random random_;
  std::vector<std::byte> expected_;
};

schema::BlockdevOptions options_of(json::Object members) {
  auto decoded = schema::decode<schema::BlockdevOptions>(json::Value(std::move(members)));
  EXPECT_TRUE(decoded);
  return *decoded;
}

class Course {
 public:
  explicit Course(std::uint64_t seed)
      : reactors_(3, seed), random_(seed * 7919), drivers_(reactors_), graph_(reactors_.control(), drivers_, trace_) {}

  void run(int cycles) { reactors_.run(go(cycles)); }
  std::uint64_t requests() const { return requests_; }

 private:
  aio::Task<void> go(int cycles) {
    expect(co_await graph_.add(options_of({{"driver", "null-co"}, {"node-name", "base"}})));
    aio::Scope writing(reactors_.control());
    for (std::size_t i = 0; i < kWriters; ++i) {
      // Slices end within a block of the drivers that have blocks.
      const std::uint64_t begin = i * kBytes / kWriters + i * 100;
      const std::uint64_t end = i + 1 == kWriters ? kBytes : (i + 1) * kBytes / kWriters + (i + 1) * 100;
      writers_.push_back(std::make_unique<Writer>(Range{begin, end - begin}, random_.next()));
      auto edge = co_await graph_.attach("base", {.name = "root"}, kUse);
      EXPECT_TRUE(edge.has_value());
      writers_.back()->edge = std::move(*edge);
      writing.spawn("writer", aio::run_on(reactors_.place(i % reactors_.size()), "writer", writers_.back()->run()));
    }
    for (int cycle = 0; cycle < cycles && !testing::Test::HasFailure(); ++cycle) {
      co_await (random_.one_in(4) ? look_back(cycle) : put_in_and_take_out(cycle));
    }
    for (auto& writer : writers_) writer->stop = true;
    co_await writing.join();
    for (auto& writer : writers_) {
      requests_ += writer->requests;
      co_await graph_.detach(std::move(writer->edge));
    }
    co_await graph_.close();
    EXPECT_TRUE(graph_.nodes().empty());
  }

  std::string some_name(int cycle, const char* suffix) {
    constexpr const char* kKinds[] = {"log", "scrub", "home"};
    return fmt::format("{}{}{}", kKinds[random_.below(std::size(kKinds))], cycle, suffix);
  }

  static AddNode filter(const std::string& name) {
    return {options_of({{"driver", "raw"}, {"node-name", name}, {"file", "base"}})};
  }

  template <class... Steps>
  aio::Task<void> change(Steps... steps) {
    std::vector<GraphStep> list;
    (list.emplace_back(std::move(steps)), ...);
    expect(co_await graph_.apply(std::move(list)));
  }

  // Inserts one filter, often replaces it by another one; each step is a change, or all insertions are one.
  aio::Task<void> put_in_and_take_out(int cycle) {
    const std::string first = some_name(cycle, "a");
    // While other users of its child write there, a scrubber is not allowed, not even for a moment.
    if (first.starts_with("scrub") || random_.one_in(2)) {
      co_await change(filter(first), ReplaceNode{"base", first});
    } else {
      co_await change(filter(first));
      co_await let_them_work();
      co_await change(ReplaceNode{"base", first});
    }
    co_await let_them_work();
    std::string last = first;
    if (random_.one_in(2)) {
      last = some_name(cycle, "b");
      co_await change(filter(last), ReplaceNode{first, last}, RemoveNode{first});
      co_await let_them_work();
    }
    // Both say the same here.
    if (random_.one_in(2)) {
      co_await change(ReplaceNode{last}, RemoveNode{last});
    } else {
      co_await change(ReplaceNode{last, "base"}, RemoveNode{last});
    }
  }

  // A reader of the node's state at one moment, while the node changes.
  aio::Task<void> look_back(int cycle) {
    Node* base = graph_.find("base");
    drivers_.older_state = std::make_unique<OlderState>(*base);
    const std::string name = fmt::format("older{}", cycle);
    std::unique_ptr<Edge> edge;
    co_await change(AddListener{"base", drivers_.older_state.get()}, filter(name),
                    AttachEdge{name, {.name = "root"}, {.used = Permission::kConsistentRead}, &edge});
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t offset = random_.below(kBytes);
      const Range range{offset, 1 + random_.below(std::min<std::uint64_t>(kBytes - offset, 3000))};
      std::vector<std::byte> got(range.length);
      const iovec vector{got.data(), got.size()};
      EXPECT_TRUE(co_await edge->enter());
      EXPECT_EQ(edge->node().try_read(reactors_.control(), range, {&vector, 1}), IoResult(fail(EAGAIN)));
      EXPECT_FALSE(edge->node().try_share(reactors_.control(), range));
      EXPECT_TRUE(co_await edge->node().read(range, {&vector, 1}));
      edge->leave();
      EXPECT_TRUE(std::ranges::equal(got, std::span(drivers_.bytes_then).subspan(offset, range.length)))
          << "a reader of an older state saw newer bytes";
      co_await let_them_work();
    }
    co_await change(DetachEdge{&edge}, RemoveNode{name}, RemoveListener{"base", drivers_.older_state.get()});
  }

  aio::Task<void> let_them_work() {
    aio::Reactor& control = reactors_.control();
    (void)co_await control.sleep_until(control.now_ns() + random_.below(200'000));
  }

  void expect(const Result<>& result) { EXPECT_TRUE(result.has_value()) << result.error().message(); }

  static constexpr Permissions kUse{.used = Permission::kConsistentRead | Permission::kWrite,
                                    .shared = PermissionSet::all()};

  Reactors reactors_;
  aio::Random random_;
  Trace trace_;
  FilterDrivers drivers_;
  Graph graph_;
  std::vector<std::unique_ptr<Writer>> writers_;
  std::uint64_t requests_ = 0;
};

TEST(GraphFiltersTest, EveryReadAgreesWithTheModelWhileFiltersAreInsertedAndRemoved) {
  const int factor = std::getenv("BLOCKEXPORT_THOROUGH") != nullptr ? 50 : 1;
  const int seeds = Reactors::are_simulated() ? 4 * factor : 1;
  const int cycles = Reactors::are_simulated() ? 50 : 1000 * factor;
  std::uint64_t requests = 0;
  for (int seed = 1; seed <= seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Course course(static_cast<std::uint64_t>(seed));
    course.run(cycles);
    requests += course.requests();
  }
  std::printf("%d times put in and taken out, %llu requests meanwhile\n", seeds * cycles,
              static_cast<unsigned long long>(requests));
}

}  // namespace
}  // namespace blockexport::block
