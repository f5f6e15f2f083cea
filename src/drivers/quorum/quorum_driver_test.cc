#include "drivers/quorum/quorum_driver.h"

#include <array>
#include <cstring>
#include <string>

#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"

namespace blockexport::drivers {
namespace {

using block::Edge;
using block::MemoryDriver;
using block::MemoryDriverState;
using block::Node;
using block::Permission;
using block::Permissions;
using block::Range;
using Calls = std::vector<std::string>;

constexpr std::size_t kSize = 3u << 20;

// The reports as text: "read a 0+512 5", where 5 is the error, or "failed 0+512".
class Reports final : public block::QuorumObserver {
 public:
  void child_is_bad(block::QuorumBadChild report) override {
    constexpr std::array kNames = {"read ", "write ", "flush "};
    const int error = report.error ? report.error->value() : 0;
    texts.push_back(kNames[static_cast<std::size_t>(report.operation)] + report.node_name + place(report.range) + " " +
                    std::to_string(error));
  }
  void request_failed(block::QuorumFailure report) override {
    EXPECT_EQ(report.node_name, "q");
    texts.push_back("failed" + place(report.range));
  }
  static std::string place(Range range) {
    return " " + std::to_string(range.offset) + "+" + std::to_string(range.length);
  }
  Calls texts;
};

class QuorumDriverTest : public block::ReactorTest {
 protected:
  void open(QuorumOptions options, std::size_t count = 3) {
    std::vector<std::unique_ptr<Edge>> edges;
    for (std::size_t i = 0; i < count; ++i) {
      nodes_.push_back(std::make_unique<Node>(std::string(1, static_cast<char>('a' + i)),
                                              std::make_unique<MemoryDriver>(states_[i])));
      edges.push_back(std::make_unique<Edge>(*nodes_[i], block::EdgeParent{.name = "children." + std::to_string(i)},
                                             Permissions{}));
    }
    auto driver = QuorumDriver::open(options, std::move(edges), nullptr, &reports_);
    ASSERT_TRUE(driver);
    node_ = std::make_unique<Node>("q", std::move(*driver));
    for (Edge* child : node_->driver().children()) child->set_parent_node(*node_);
  }
  void TearDown() override { node_.reset(); }

  IoResult read(Range range, std::string& bytes) {
    bytes.assign(range.length, '?');
    iovec vector{bytes.data(), bytes.size()};
    return run(node_->read(range, block::IoBuffers(&vector, 1)));
  }
  IoResult write(std::uint64_t offset, std::string bytes, block::WriteOptions options = {}) {
    iovec vector{bytes.data(), bytes.size()};
    return run(node_->write({offset, bytes.size()}, block::IoBuffers(&vector, 1), options));
  }
  void set(std::size_t child, std::uint64_t offset, std::string_view bytes) {
    std::memcpy(states_[child].bytes.data() + offset, bytes.data(), bytes.size());
  }
  std::string get(std::size_t child, std::uint64_t offset, std::size_t length) {
    return {reinterpret_cast<const char*>(states_[child].bytes.data()) + offset, length};
  }
  Calls take_reports() { return std::exchange(reports_.texts, {}); }

  Reports reports_;
  std::array<MemoryDriverState, 3> states_{MemoryDriverState(kSize), MemoryDriverState(kSize),
                                           MemoryDriverState(kSize)};
  std::vector<std::unique_ptr<Node>> nodes_;
  std::unique_ptr<Node> node_;
};

TEST_F(QuorumDriverTest, ChildrenHaveOneSize) {
  Node a{"a", std::make_unique<MemoryDriver>(states_[0])};
  states_[1].bytes.resize(512);
  Node b{"b", std::make_unique<MemoryDriver>(states_[1])};
  std::vector<std::unique_ptr<Edge>> edges;
  edges.push_back(std::make_unique<Edge>(a, block::EdgeParent{}, Permissions{}));
  edges.push_back(std::make_unique<Edge>(b, block::EdgeParent{}, Permissions{}));
  const auto driver = QuorumDriver::open({.threshold = 2}, std::move(edges));
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().message(), "Could not refresh total sector count: Input/output error");
}

TEST_F(QuorumDriverTest, EveryChildGetsEveryChange) {
  open({.threshold = 2});
  EXPECT_TRUE(write(100, "abc", {.force_unit_access = true}));
  EXPECT_TRUE(run(node_->write_zeroes({512, 1024}, {})));
  EXPECT_TRUE(run(node_->flush()));
  EXPECT_TRUE(run(node_->discard({0, 4096})));
  for (MemoryDriverState& state : states_) {
    EXPECT_EQ(state.calls, (Calls{"write 100+3 fua", "write_zeroes 512+1024", "flush"}));
  }
  EXPECT_TRUE(take_reports().empty());
}

TEST_F(QuorumDriverTest, MajorityWins) {
  open({.threshold = 2});
  for (std::size_t i = 0; i < 3; ++i) {
    set(i, 1000, i == 0 ? "bad" : "good");
  }
  std::string bytes;
  EXPECT_TRUE(read({1000, 4}, bytes));
  EXPECT_EQ(bytes, "good");
  EXPECT_EQ(take_reports(), (Calls{"read a 1000+4 0"}));
  EXPECT_EQ(get(0, 1000, 3), "bad");
}

TEST_F(QuorumDriverTest, PiecesOfALongReadHaveVotesOfTheirOwn) {
  open({.threshold = 2});
  set(0, 5, "bad");
  set(1, kSize - 3, "bad");
  std::string bytes;
  EXPECT_TRUE(read({0, kSize}, bytes));
  EXPECT_EQ(bytes, std::string(kSize, '\0'));
  EXPECT_EQ(take_reports(), (Calls{"read a 0+1048576 0", "read b 2097152+1048576 0"}));
}

TEST_F(QuorumDriverTest, TooFewVotesFailARead) {
  open({.threshold = 2});
  set(0, 0, "a");
  set(1, 0, "b");
  std::string bytes;
  EXPECT_EQ(read({0, 512}, bytes), IoResult(fail(EIO)));
  EXPECT_EQ(take_reports(), (Calls{"failed 0+512"}));
}

TEST_F(QuorumDriverTest, RewritesChildrenWithOtherBytes) {
  open({.threshold = 2, .rewrite_corrupted = true});
  set(0, 0, "bad");
  std::string bytes;
  EXPECT_TRUE(read({0, 512}, bytes));
  EXPECT_EQ(get(0, 0, 3), std::string(3, '\0'));
  EXPECT_EQ(take_reports(), (Calls{"read a 0+512 0"}));
  EXPECT_TRUE(read({0, 512}, bytes));
  EXPECT_TRUE(take_reports().empty());
}

TEST_F(QuorumDriverTest, AFailedRewriteIsReported) {
  open({.threshold = 2, .rewrite_corrupted = true});
  set(2, 0, "bad");
  states_[2].write_error = ENOSPC;
  std::string bytes;
  EXPECT_TRUE(read({0, 512}, bytes));
  EXPECT_EQ(take_reports(), (Calls{"read c 0+512 0", "write c 0+512 28"}));
}

// The write is under way: it has reached the first child, and waits for the second one.
TEST_F(QuorumDriverTest, AReadDuringAWriteReportsAndRewritesNothing) {
  open({.threshold = 2, .rewrite_corrupted = true}, 2);
  aio::Event first_read(reactor());
  states_[1].read_pause = &first_read;
  set(0, 0, "new");
  std::string bytes(3, '?');
  iovec vector{bytes.data(), 3};
  IoResult result = fail(EAGAIN);
  auto read_both = [](Node& node, iovec& into, IoResult& out) -> aio::Task<void> {
    out = co_await node.read({0, 3}, block::IoBuffers(&into, 1));
  };
  start(read_both(*node_, vector, result));
  set(1, 0, "new");
  states_[1].read_pause = nullptr;
  first_read.set();
  until_idle();
  EXPECT_TRUE(result);
  EXPECT_EQ(bytes, "new");
  EXPECT_TRUE(take_reports().empty());
}

TEST_F(QuorumDriverTest, FailedChildrenHaveNoVote) {
  open({.threshold = 2});
  states_[1].error = EPERM;
  std::string bytes;
  EXPECT_TRUE(read({0, 512}, bytes));
  EXPECT_EQ(take_reports(), (Calls{"read b 0+512 1"}));
  states_[0].error = ENOSPC;
  EXPECT_EQ(read({0, 512}, bytes), IoResult(fail(EPERM)));
  EXPECT_EQ(take_reports(), (Calls{"read a 0+512 28", "read b 0+512 1", "failed 0+512"}));
}

TEST_F(QuorumDriverTest, AFailedFirstChildIsReplaced) {
  open({.threshold = 2});
  for (std::size_t i = 0; i < 3; ++i) set(i, 0, "abc");
  states_[0].error = EIO;
  std::string bytes;
  EXPECT_TRUE(read({0, 3}, bytes));
  EXPECT_EQ(bytes, "abc");
}

TEST_F(QuorumDriverTest, EnoughSuccessesMakeAChangeSucceed) {
  open({.threshold = 2});
  states_[0].error = ENOSPC;
  EXPECT_TRUE(write(0, "abc"));
  EXPECT_TRUE(run(node_->write_zeroes({512, 512}, {})));
  EXPECT_TRUE(run(node_->flush()));
  EXPECT_EQ(take_reports(), (Calls{"write a 0+3 28", "write a 512+512 28", "flush a 0+0 28"}));
  states_[1].error = ENOSPC;
  EXPECT_EQ(write(0, "abc"), IoResult(fail(ENOSPC)));
  EXPECT_EQ(run(node_->flush()), IoResult(fail(ENOSPC)));
  EXPECT_EQ(take_reports(),
            (Calls{"write a 0+3 28", "write b 0+3 28", "failed 0+3", "flush a 0+0 28", "flush b 0+0 28"}));
}

TEST_F(QuorumDriverTest, FastZeroesChangeAllChildrenOrNone) {
  open({.threshold = 3});
  for (std::size_t i = 0; i < 3; ++i) set(i, 0, "abc");
  states_[1].fast_zeroes = true;
  EXPECT_EQ(run(node_->write_zeroes({0, 512}, {.no_fallback = true})), IoResult(fail(ENOTSUP)));
  EXPECT_EQ(get(1, 0, 3), "abc");
  states_[0].fast_zeroes = true;
  states_[1].fast_zeroes = false;
  EXPECT_TRUE(run(node_->write_zeroes({0, 512}, {.no_fallback = true})));
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(get(i, 0, 3), std::string(3, '\0'));
}

TEST_F(QuorumDriverTest, FirstReadableChildIsReadAlone) {
  open({.threshold = 1, .reading = QuorumReading::kFirst});
  set(1, 0, "one");
  std::string bytes(3, '?');
  iovec vector{bytes.data(), 3};
  EXPECT_TRUE(node_->try_read(reactor(), {0, 3}, block::IoBuffers(&vector, 1)));
  states_[0].error = EIO;
  EXPECT_EQ(node_->try_read(reactor(), {0, 3}, block::IoBuffers(&vector, 1)), IoResult(fail(EAGAIN)));
  EXPECT_TRUE(read({0, 3}, bytes));
  EXPECT_EQ(bytes, "one");
  EXPECT_EQ(take_reports(), (Calls{"read a 0+3 5"}));
  EXPECT_TRUE(states_[2].calls.empty());
  states_[1].error = ENOSPC;
  states_[2].error = EPERM;
  EXPECT_EQ(read({0, 3}, bytes), IoResult(fail(EPERM)));
}

TEST_F(QuorumDriverTest, ComparedChildrenFailForEverAfterADifference) {
  open({.threshold = 2, .must_be_equal = true}, 2);
  std::string bytes;
  EXPECT_TRUE(write(0, "abc"));
  EXPECT_TRUE(read({0, 3}, bytes));
  set(1, 1, "x");
  EXPECT_EQ(read({0, 3}, bytes), IoResult(fail(EIO)));
  EXPECT_EQ(take_reports(), (Calls{"failed 0+3"}));
  set(1, 1, "b");
  EXPECT_EQ(read({0, 3}, bytes), IoResult(fail(EIO)));
  EXPECT_EQ(write(0, "abc"), IoResult(fail(EIO)));
  EXPECT_EQ(run(node_->write_zeroes({0, 512}, {})), IoResult(fail(EIO)));
  EXPECT_EQ(run(node_->driver().flush()), IoResult(fail(EIO)));
  block::Extents extents;
  EXPECT_EQ(run(node_->extents({0, 512}, extents)), IoResult(fail(EIO)));
}

// Of two children, every request may be the one that fails; the other child has the bytes.
TEST_F(QuorumDriverTest, AnyRequestOfOneChildMayFail) {
  open({.threshold = 1}, 2);
  for (std::size_t k = 0; k < 8; ++k) {
    states_[k % 2].error = k < 4 ? EIO : ENOSPC;
    states_[1 - k % 2].error = 0;
    const std::string text = "round " + std::to_string(k);
    EXPECT_TRUE(write(k * 512, text));
    EXPECT_TRUE(run(node_->flush()));
    std::string bytes;
    EXPECT_TRUE(read({k * 512, text.size()}, bytes));
    EXPECT_EQ(bytes, text);
  }
}

TEST_F(QuorumDriverTest, OthersMayOnlyReadItsChildren) {
  open({.threshold = 2, .rewrite_corrupted = true});
  const Edge& child = *node_->driver().children()[0];
  EXPECT_EQ(child.name(), "children.2");
  const Permissions needed = node_->driver().child_permissions(child, {.used = Permission::kConsistentRead}, false);
  EXPECT_EQ(needed.used, Permission::kConsistentRead | Permission::kWrite);
  EXPECT_EQ(needed.shared, Permission::kConsistentRead | Permission::kWriteUnchanged);
}

}  // namespace
}  // namespace blockexport::drivers
