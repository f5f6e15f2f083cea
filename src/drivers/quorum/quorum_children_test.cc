// Children of a quorum node that come and go: names, votes, refusals, and changes that are undone, in a graph whose
// other nodes are in memory.
#include <fmt/format.h>

#include <cstring>
#include <map>
#include <ranges>

#include "block/graph.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"
#include "drivers/quorum/quorum_driver.h"
#include "json/value.h"
#include "schema/codec.h"

namespace blockexport::drivers {
namespace {

using block::Edge;
using block::EdgeParent;
using block::Graph;
using block::GraphStep;
using block::MemoryDriver;
using block::MemoryDriverState;
using block::Permission;
using block::Permissions;
using block::PermissionSet;

constexpr std::size_t kBytes = 64u << 10;

// Quorum nodes, and nodes in memory by their names.
struct Drivers final : block::DriverTable {
  aio::Task<Result<std::unique_ptr<block::Driver>>> open(const schema::BlockdevOptions& options,
                                                         const block::NodeOptions&,
                                                         block::ChildOpener& children) override {
    const auto* quorum = options.as_if<schema::BlockdevDriver::kQuorum>();
    if (quorum == nullptr) {
      co_return std::make_unique<MemoryDriver>(states.try_emplace(*options.node_name, kBytes).first->second);
    }
    CO_TRY_ASSIGN(const QuorumOptions plain, quorum_options(*quorum));
    std::vector<std::unique_ptr<Edge>> edges;
    for (std::size_t i = 0; i < quorum->children.size(); ++i) {
      CO_TRY_ASSIGN(
          std::unique_ptr<Edge> edge,
          co_await children.open_child(quorum->children[i], fmt::format("children.{}", i), block::ChildRole::kData));
      edges.push_back(std::move(edge));
    }
    co_return QuorumDriver::open(plain, std::move(edges));
  }

  std::map<std::string, MemoryDriverState> states;
};

class QuorumChildrenTest : public block::ReactorTest {
 protected:
  void SetUp() override {
    for (const char* name : {"a", "b", "c", "d"}) {
      ASSERT_EQ(add({{"driver", "null-co"}, {"node-name", name}}), "");
    }
  }
  void TearDown() override {
    if (user_) run(graph_.detach(std::move(user_)));
    run(graph_.close());
  }

  static std::string text_of(const Result<>& result) { return result ? "" : result.error().message(); }
  std::string add(std::initializer_list<json::Object::Member> members) {
    auto options = schema::decode<schema::BlockdevOptions>(json::Object(members));
    EXPECT_TRUE(options);
    return text_of(run(graph_.add(std::move(*options))));
  }
  // A quorum node "q" of the nodes "a" and "b".
  void add_quorum(std::int64_t threshold) {
    ASSERT_EQ(add({{"driver", "quorum"},
                   {"node-name", "q"},
                   {"children", json::Array{"a", "b"}},
                   {"vote-threshold", threshold}}),
              "");
  }
  template <class... Steps>
  std::string apply(Steps... steps) {
    std::vector<GraphStep> list;
    (list.push_back(std::move(steps)), ...);
    return text_of(run(graph_.apply(std::move(list))));
  }
  std::string add_child(const std::string& node) { return apply(block::AddChild{"q", node}); }
  std::string remove_child(const std::string& child) { return apply(block::RemoveChild{"q", child}); }

  // The children of "q" and the permissions of their edges, as "children.0=a rw children.1=b rw".
  std::string children() const {
    std::string text;
    for (const Edge* edge : graph_.find("q")->driver().children() | std::views::reverse) {
      const PermissionSet used = edge->permissions().used;
      text += fmt::format("{}{}={}{}{}", text.empty() ? "" : " ", edge->name(), edge->node().name(),
                          used.has(Permission::kConsistentRead) ? " r" : "", used.has(Permission::kWrite) ? "w" : "");
    }
    return text;
  }
  // A user of "q" that writes.
  void use() {
    auto user = run(graph_.attach("q", EdgeParent{.name = "root", .description = std::string(block::kUnnamedUser)},
                                  Permissions{.used = Permission::kConsistentRead | Permission::kWrite,
                                              .shared = PermissionSet::all() - Permission::kResize}));
    ASSERT_TRUE(user);
    user_ = std::move(*user);
  }
  std::string read(std::size_t length) {
    std::string bytes(length, '?');
    iovec vector{bytes.data(), bytes.size()};
    return run(user_->node().read({0, length}, block::IoBuffers(&vector, 1))) ? bytes : "error";
  }
  void write(std::string bytes) {
    iovec vector{bytes.data(), bytes.size()};
    EXPECT_TRUE(run(user_->node().write({0, bytes.size()}, block::IoBuffers(&vector, 1), {})));
  }
  std::string bytes_of(const std::string& node, std::size_t length) {
    return {reinterpret_cast<const char*>(drivers_.states.at(node).bytes.data()), length};
  }
  void set(const std::string& node, std::string_view bytes) {
    std::memcpy(drivers_.states.at(node).bytes.data(), bytes.data(), bytes.size());
  }

  Drivers drivers_;
  Trace trace_;
  Graph graph_{reactor(), drivers_, trace_};
  std::unique_ptr<Edge> user_;
};

TEST_F(QuorumChildrenTest, ANewChildHasTheNumberAfterTheHighestOne) {
  add_quorum(1);
  EXPECT_EQ(add_child("c"), "");
  EXPECT_EQ(children(), "children.0=a children.1=b children.2=c");
  EXPECT_EQ(remove_child("children.1"), "");
  EXPECT_EQ(add_child("b"), "");
  EXPECT_EQ(children(), "children.0=a children.2=c children.3=b");
  EXPECT_EQ(remove_child("children.3"), "");
  EXPECT_EQ(add_child("d"), "");
  EXPECT_EQ(children(), "children.0=a children.2=c children.3=d");
}

TEST_F(QuorumChildrenTest, TheLastNumberIsFreeAgainOnlyWhenItsChildGoes) {
  add_quorum(1);
  EXPECT_EQ(remove_child("children.0"), "");
  EXPECT_EQ(remove_child("children.1"), "The number of children cannot be lower than the vote threshold 1");
  EXPECT_EQ(add_child("a"), "");
  EXPECT_EQ(remove_child("children.1"), "");
  EXPECT_EQ(children(), "children.2=a");
}

TEST_F(QuorumChildrenTest, ANewChildIsWrittenToAndVotes) {
  add_quorum(2);
  use();
  write("old");
  set("c", "old");
  EXPECT_EQ(add_child("c"), "");
  EXPECT_EQ(children(), "children.0=a rw children.1=b rw children.2=c rw");
  set("a", "bad");
  EXPECT_EQ(read(3), "old");
  write("new");
  EXPECT_EQ(bytes_of("c", 3), "new");
}

TEST_F(QuorumChildrenTest, AChildThatIsGoneIsNeitherReadNorWritten) {
  add_quorum(1);
  use();
  write("old");
  drivers_.states.at("a").calls.clear();
  EXPECT_EQ(remove_child("children.0"), "");
  EXPECT_EQ(children(), "children.1=b rw");
  write("new");
  EXPECT_EQ(read(3), "new");
  EXPECT_EQ(bytes_of("a", 3), "old");
  // What it was given is durable.
  EXPECT_EQ(drivers_.states.at("a").calls, std::vector<std::string>{"flush"});
}

TEST_F(QuorumChildrenTest, AChildThatCannotBeFlushedGoes) {
  add_quorum(1);
  use();
  write("old");
  drivers_.states.at("a").error = EIO;
  EXPECT_EQ(remove_child("children.0"), "");
  drivers_.states.at("a").error = 0;
  EXPECT_EQ(children(), "children.1=b rw");
}

TEST_F(QuorumChildrenTest, TheVoteThresholdKeepsChildren) {
  add_quorum(2);
  EXPECT_EQ(remove_child("children.0"), "The number of children cannot be lower than the vote threshold 2");
  EXPECT_EQ(add_child("c"), "");
  EXPECT_EQ(remove_child("children.0"), "");
  EXPECT_EQ(children(), "children.1=b children.2=c");
}

TEST_F(QuorumChildrenTest, ComparedChildrenStayAsTheyAre) {
  ASSERT_EQ(add({{"driver", "quorum"},
                 {"node-name", "q"},
                 {"children", json::Array{"a", "b"}},
                 {"vote-threshold", 2},
                 {"blkverify", true}}),
            "");
  EXPECT_EQ(add_child("c"), "Cannot add a child to a quorum in blkverify mode");
  EXPECT_EQ(remove_child("children.1"), "The number of children cannot be lower than the vote threshold 2");
}

TEST_F(QuorumChildrenTest, ChildrenHaveOneSize) {
  add_quorum(1);
  drivers_.states.try_emplace("small", kBytes / 2);
  ASSERT_EQ(add({{"driver", "null-co"}, {"node-name", "small"}}), "");
  EXPECT_EQ(add_child("small"), "Could not refresh total sector count: Input/output error");
  EXPECT_EQ(children(), "children.0=a children.1=b");
}

TEST_F(QuorumChildrenTest, TheirNumberIsLimited) {
  add_quorum(1);
  for (std::size_t i = 2; i < kQuorumChildrenMax; ++i) {
    const std::string name = fmt::format("n{}", i);
    ASSERT_EQ(add({{"driver", "null-co"}, {"node-name", name}}), "");
    ASSERT_EQ(add_child(name), "");
  }
  EXPECT_EQ(add_child("c"), "Too many children");
  EXPECT_EQ(remove_child("children.7"), "");
  EXPECT_EQ(add_child("c"), "");
}

TEST_F(QuorumChildrenTest, RefusesNodesAndChildrenThatDoNotFit) {
  add_quorum(1);
  EXPECT_EQ(add_child("q"), "Making 'q' a children.2 child of 'q' would create a cycle");
  EXPECT_EQ(add_child("a"), "The node a already has a parent");
  EXPECT_EQ(add_child("absent"), "Node 'absent' not found");
  EXPECT_EQ(remove_child("absent"), "Node 'q' does not have child 'absent'");
  EXPECT_EQ(apply(block::AddChild{"a", "c"}), "The node a does not support adding a child");
  EXPECT_EQ(apply(block::AddChild{"absent", "c"}), "Cannot find device='absent' nor node-name='absent'");
  EXPECT_EQ(children(), "children.0=a children.1=b");
}

TEST_F(QuorumChildrenTest, AReadOnlyNodeIsNoChildOfOneThatIsWritten) {
  add_quorum(1);
  use();
  ASSERT_EQ(add({{"driver", "null-co"}, {"node-name", "ro"}, {"read-only", true}}), "");
  EXPECT_EQ(add_child("ro"), "Block node is read-only");
  EXPECT_EQ(children(), "children.0=a rw children.1=b rw");
  EXPECT_EQ(add_child("c"), "");
  EXPECT_EQ(children(), "children.0=a rw children.1=b rw children.2=c rw");
}

// A failure of the last step undoes the others, in reverse order.
TEST_F(QuorumChildrenTest, AFailedChangeLeavesNamesAndPlacesAsTheyWere) {
  add_quorum(1);
  use();
  EXPECT_EQ(add_child("c"), "");
  const std::string before = children();
  EXPECT_EQ(
      apply(block::RemoveChild{"q", "children.1"}, block::AddChild{"q", "d"}, block::RemoveChild{"q", "children.2"},
            block::AddChild{"q", "b"}, block::RemoveChild{"q", "children.4"}, block::AddChild{"q", "c"},
            block::RemoveChild{"q", "children.0"}, block::FailChange{"no"}),
      "no");
  EXPECT_EQ(children(), before);
  write("all");
  for (const char* node : {"a", "b", "c"}) EXPECT_EQ(bytes_of(node, 3), "all");
  EXPECT_EQ(add_child("d"), "");
  EXPECT_EQ(children(), before + " children.3=d rw");
}

TEST_F(QuorumChildrenTest, AnInlineChildGoesWithTheChangeOnly) {
  ASSERT_EQ(add({{"driver", "quorum"},
                 {"node-name", "q"},
                 {"children", json::Array{"a", json::Object{{"driver", "null-co"}, {"node-name", "inline"}}}},
                 {"vote-threshold", 1}}),
            "");
  EXPECT_EQ(apply(block::RemoveChild{"q", "children.1"}, block::FailChange{"no"}), "no");
  EXPECT_NE(graph_.find("inline"), nullptr);
  EXPECT_EQ(children(), "children.0=a children.1=inline");
  EXPECT_EQ(remove_child("children.1"), "");
  EXPECT_EQ(graph_.find("inline"), nullptr);
}

// Clients read and write while children come and go.
TEST_F(QuorumChildrenTest, RequestsWaitForAChange) {
  add_quorum(1);
  use();
  bool stop = false;
  auto client = [](Edge& edge, const bool& stopped) -> aio::Task<void> {
    std::uint8_t round = 0;
    while (!stopped) {
      std::array<std::uint8_t, 512> bytes{};
      bytes.fill(++round);
      iovec vector{bytes.data(), bytes.size()};
      if (!co_await edge.enter()) co_return;
      EXPECT_TRUE(co_await edge.node().write({0, bytes.size()}, block::IoBuffers(&vector, 1), {}));
      bytes.fill(0);
      EXPECT_TRUE(co_await edge.node().read({0, bytes.size()}, block::IoBuffers(&vector, 1)));
      edge.leave();
      EXPECT_EQ(bytes[511], round);
      co_await aio::next_turn();
    }
  };
  auto changes = [](Graph& graph, bool& stopped, std::size_t& made) -> aio::Task<void> {
    for (std::size_t i = 0; i < 100; ++i) {
      std::vector<GraphStep> steps;
      // The oldest child goes, and the node that went before it comes back.
      steps.push_back(block::AddChild{"q", i % 3 == 0 ? "c" : i % 3 == 1 ? "a" : "b"});
      steps.push_back(block::RemoveChild{"q", fmt::format("children.{}", i)});
      if (Result<> result = co_await graph.apply(std::move(steps)); result) {
        ++made;
      } else {
        ADD_FAILURE() << result.error().message();
      }
      co_await aio::next_turn();
    }
    stopped = true;
  };
  std::size_t made = 0;
  start(client(*user_, stop));
  start(changes(graph_, stop, made));
  until_idle();
  EXPECT_EQ(made, 100u);
  EXPECT_EQ(children(), "children.100=b rw children.101=c rw");
}

}  // namespace
}  // namespace blockexport::drivers
