// Nodes whose drivers open slowly, or never: other changes do not wait for them, and their opening can be cancelled.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "aio/sync/sync.h"
#include "block/graph.h"
#include "block/testing/filter_drivers.h"
#include "block/testing/reactor_test.h"
#include "schema/codec.h"

namespace blockexport::block {
namespace {

// Opens memory for "null-co", and a filter for "raw"; nodes whose names begin with "slow" wait for `may_open`. Outlives
// the graph.
struct SlowDrivers final : DriverTable {
  explicit SlowDrivers(aio::Reactor& reactor) : may_open(reactor) {}

  aio::Task<Result<std::unique_ptr<Driver>>> open(const schema::BlockdevOptions& options, const NodeOptions&,
                                                  ChildOpener& children) override {
    std::unique_ptr<Edge> file;
    if (const auto* raw = options.as_if<schema::BlockdevDriver::kRaw>()) {
      CO_TRY_ASSIGN(file, co_await children.open_child(raw->file, "file", ChildRole::kFiltered));
    }
    if (options.node_name->starts_with("slow")) {
      ++opening;
      const IoResult waited = co_await may_open.wait();
      --opening;
      if (!waited) co_return fail("The opening was cancelled");
    }
    if (file != nullptr) co_return std::make_unique<Filter>(std::move(file));
    co_return std::make_unique<Store>(4096);
  }

  aio::Event may_open;
  int opening = 0;
};

aio::Task<void> apply_and_tell(Graph& graph, std::vector<GraphStep> steps, std::optional<std::string>& error) {
  Result<> result = co_await graph.apply(std::move(steps));
  error = result ? "" : result.error().message();
}

class GraphOpeningTest : public ReactorTest {
 protected:
  ~GraphOpeningTest() override {
    drivers_.may_open.set();
    run(opening_.join());
    run(graph_.close());
  }

  static schema::BlockdevOptions options_of(json::Object members) {
    auto decoded = schema::decode<schema::BlockdevOptions>(json::Value(std::move(members)));
    EXPECT_TRUE(decoded);
    return *decoded;
  }
  static schema::BlockdevOptions store(const std::string& name) {
    return options_of({{"driver", "null-co"}, {"node-name", name}});
  }
  std::string add(schema::BlockdevOptions options) {
    Result<> result = run(graph_.add(std::move(options)));
    return result ? "" : result.error().message();
  }
  template <class... Steps>
  void start_change(Steps... steps) {
    std::vector<GraphStep> list;
    (list.emplace_back(std::move(steps)), ...);
    opening_.spawn("change", apply_and_tell(graph_, std::move(list), error_));
  }

  Trace trace_;
  SlowDrivers drivers_{reactor()};
  Graph graph_{reactor(), drivers_, trace_};
  aio::Scope opening_{reactor()};
  std::optional<std::string> error_;
};

TEST_F(GraphOpeningTest, OtherChangesContinueWhileANodeOpens) {
  start_change(AddNode{store("slow")});
  EXPECT_EQ(drivers_.opening, 1);
  EXPECT_EQ(add(store("other")), "");
  auto edge = run(graph_.attach("other", {.name = "root"}, {}));
  ASSERT_TRUE(edge);
  run(graph_.detach(std::move(*edge)));
  EXPECT_TRUE(run(graph_.remove("other")));
  EXPECT_FALSE(error_);
  EXPECT_EQ(graph_.find("slow"), nullptr);
  EXPECT_TRUE(graph_.nodes().empty());
  drivers_.may_open.set();
  run(opening_.join());
  EXPECT_EQ(error_, "");
  EXPECT_NE(graph_.find("slow"), nullptr);
}

TEST_F(GraphOpeningTest, ReservesItsNamesMeanwhileAndReleasesThemAfterwards) {
  start_change(AddNode{options_of({{"driver", "raw"},
                                   {"node-name", "slow"},
                                   {"file", json::Object{{"driver", "null-co"}, {"node-name", "below"}}}})});
  EXPECT_EQ(drivers_.opening, 1);
  EXPECT_EQ(add(store("slow")), "Duplicate nodes with node-name='slow'");
  EXPECT_EQ(add(store("below")), "Duplicate nodes with node-name='below'");
  opening_.cancel();
  run(opening_.join());
  EXPECT_EQ(error_, "The opening was cancelled");
  EXPECT_TRUE(graph_.nodes().empty());
  EXPECT_EQ(add(store("below")), "");
  drivers_.may_open.set();
  EXPECT_EQ(add(store("slow")), "");
}

TEST_F(GraphOpeningTest, ClosingDoesNotWaitForIt) {
  start_change(AddNode{store("slow")});
  run(graph_.close());
  EXPECT_FALSE(error_);
  drivers_.may_open.set();
  run(opening_.join());
  EXPECT_EQ(error_, "The block graph is being closed");
  EXPECT_TRUE(graph_.nodes().empty());
}

// A node that refers to another one needs that one not to change meanwhile.
TEST_F(GraphOpeningTest, ANodeAboveAnotherOneOpensAsPartOfItsChange) {
  EXPECT_EQ(add(store("below")), "");
  start_change(AddNode{options_of({{"driver", "raw"}, {"node-name", "slow"}, {"file", "below"}})});
  EXPECT_EQ(drivers_.opening, 1);
  std::optional<std::string> removed;
  start([](Graph& graph, std::optional<std::string>& told) -> aio::Task<void> {
    std::vector<GraphStep> steps;
    steps.emplace_back(RemoveNode{"below"});
    co_await apply_and_tell(graph, std::move(steps), told);
  }(graph_, removed));
  EXPECT_FALSE(removed);
  drivers_.may_open.set();
  until_idle();
  run(opening_.join());
  EXPECT_EQ(error_, "");
  EXPECT_EQ(removed, "Block device below is in use");
}

TEST_F(GraphOpeningTest, AChangeOpensItsFirstNodesBeforeItBegins) {
  start_change(AddNode{store("slow1")}, AddNode{store("slow2")},
               AddNode{options_of({{"driver", "raw"}, {"node-name", "top"}, {"file", "slow1"}})}, RemoveNode{"none"});
  EXPECT_EQ(drivers_.opening, 1);
  EXPECT_EQ(add(store("other")), "");
  drivers_.may_open.set();
  run(opening_.join());
  EXPECT_EQ(error_, "Failed to find node with node-name='none'");
  EXPECT_EQ(graph_.nodes().size(), 1u);
  EXPECT_EQ(add(store("slow1")), "");
}

}  // namespace
}  // namespace blockexport::block
