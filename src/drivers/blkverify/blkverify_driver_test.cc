#include "drivers/blkverify/blkverify_driver.h"

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

class BlkverifyDriverTest : public block::ReactorTest {
 protected:
  BlkverifyDriverTest() {
    node_ = std::make_unique<Node>(
        "v",
        std::make_unique<BlkverifyDriver>(
            std::make_unique<Edge>(test_, block::EdgeParent{.name = "test"}, Permissions{}),
            std::make_unique<Edge>(raw_, block::EdgeParent{.name = "raw"}, Permissions{}), &log_),
        block::NodeOptions{.discard = block::DiscardMode::kUnmap});
    for (Edge* child : node_->driver().children()) child->set_parent_node(*node_);
  }

  IoResult read(Range range, std::string& bytes) {
    bytes.assign(range.length, '?');
    iovec vector{bytes.data(), bytes.size()};
    return run(node_->read(range, block::IoBuffers(&vector, 1)));
  }
  IoResult write(std::uint64_t offset, std::string bytes, block::WriteOptions options = {}) {
    iovec vector{bytes.data(), bytes.size()};
    return run(node_->write({offset, bytes.size()}, block::IoBuffers(&vector, 1), options));
  }
  static void set(MemoryDriverState& state, std::uint64_t offset, std::string_view bytes) {
    std::memcpy(state.bytes.data() + offset, bytes.data(), bytes.size());
  }
  bool fails_for_ever() {
    std::string bytes;
    block::Extents extents;
    const IoResult wanted = fail(EIO);
    return read({0, 1}, bytes) == wanted && write(0, "x") == wanted && run(node_->write_zeroes({0, 1}, {})) == wanted &&
           run(node_->driver().flush()) == wanted && run(node_->extents({0, 1}, extents)) == wanted;
  }

  Log log_{"test", 2, LogLevel::kError};
  MemoryDriverState test_state_{kSize};
  MemoryDriverState raw_state_{kSize};
  Node test_{"test", std::make_unique<MemoryDriver>(test_state_), {.discard = block::DiscardMode::kUnmap}};
  Node raw_{"raw", std::make_unique<MemoryDriver>(raw_state_), {.discard = block::DiscardMode::kUnmap}};
  std::unique_ptr<Node> node_;
};

TEST_F(BlkverifyDriverTest, BothChildrenGetEachRequest) {
  EXPECT_TRUE(write(5, "abc", {.force_unit_access = true}));
  std::string bytes;
  EXPECT_TRUE(read({4, 5}, bytes));
  EXPECT_EQ(bytes, std::string("\0abc\0", 5));
  EXPECT_TRUE(run(node_->write_zeroes({5, 2}, {.may_unmap = true})));
  EXPECT_TRUE(run(node_->discard({0, 4096})));
  EXPECT_TRUE(read({5, 3}, bytes));
  EXPECT_EQ(bytes, std::string("\0\0c", 3));
  const Calls calls = {"write 5+3 fua", "read 4+5", "write_zeroes 5+2 unmap", "read 5+3"};
  EXPECT_EQ(test_state_.calls, calls);
  EXPECT_EQ(raw_state_.calls, calls);
}

TEST_F(BlkverifyDriverTest, FlushesTheTestedChildAlone) {
  EXPECT_TRUE(write(0, "x"));
  EXPECT_TRUE(run(node_->flush()));
  EXPECT_EQ(test_state_.calls, (Calls{"write 0+1", "flush"}));
  EXPECT_EQ(raw_state_.calls, (Calls{"write 0+1"}));
  EXPECT_FALSE(node_->owes_flush());
}

TEST_F(BlkverifyDriverTest, OtherBytesFailTheReadAndAllLaterRequests) {
  set(raw_state_, 2u << 20, "x");
  std::string bytes;
  EXPECT_TRUE(read({0, 2u << 20}, bytes));
  EXPECT_EQ(read({0, kSize}, bytes), IoResult(fail(EIO)));
  set(raw_state_, 2u << 20, std::string_view("\0", 1));
  EXPECT_TRUE(fails_for_ever());
}

TEST_F(BlkverifyDriverTest, OtherResultsFailTheRequestAndAllLaterOnes) {
  raw_state_.write_error = ENOSPC;
  EXPECT_EQ(write(0, "x"), IoResult(fail(EIO)));
  raw_state_.write_error = 0;
  EXPECT_TRUE(fails_for_ever());
}

TEST_F(BlkverifyDriverTest, AReadThatOneChildFailsFailsAllLaterRequests) {
  test_state_.error = ENOSPC;
  std::string bytes;
  EXPECT_EQ(read({0, 512}, bytes), IoResult(fail(EIO)));
  test_state_.error = 0;
  EXPECT_TRUE(fails_for_ever());
}

TEST_F(BlkverifyDriverTest, TheSameErrorOfBothIsTheResult) {
  test_state_.error = ENOSPC;
  raw_state_.error = ENOSPC;
  std::string bytes;
  EXPECT_EQ(read({0, 512}, bytes), IoResult(fail(ENOSPC)));
  EXPECT_EQ(write(0, "x"), IoResult(fail(ENOSPC)));
  EXPECT_EQ(run(node_->write_zeroes({0, 1}, {})), IoResult(fail(ENOSPC)));
  test_state_.error = raw_state_.error = 0;
  EXPECT_TRUE(read({0, 512}, bytes));
}

TEST_F(BlkverifyDriverTest, FastZeroesAreThoseOfTheTestedChild) {
  EXPECT_EQ(run(node_->write_zeroes({0, 512}, {.no_fallback = true})), IoResult(fail(ENOTSUP)));
  EXPECT_TRUE(raw_state_.calls.empty());
  test_state_.fast_zeroes = true;
  EXPECT_TRUE(run(node_->write_zeroes({0, 512}, {.no_fallback = true})));
  EXPECT_EQ(raw_state_.calls, (Calls{"write_zeroes 0+512"}));
}

TEST_F(BlkverifyDriverTest, AReadDuringAWriteIsNoDifference) {
  aio::Event first_read(reactor());
  raw_state_.read_pause = &first_read;
  set(test_state_, 0, "new");
  std::string bytes(3, '?');
  iovec vector{bytes.data(), 3};
  IoResult result = fail(EAGAIN);
  auto read_both = [](Node& node, iovec& into, IoResult& out) -> aio::Task<void> {
    out = co_await node.read({0, 3}, block::IoBuffers(&into, 1));
  };
  start(read_both(*node_, vector, result));
  set(raw_state_, 0, "new");
  raw_state_.read_pause = nullptr;
  first_read.set();
  until_idle();
  EXPECT_TRUE(result);
  EXPECT_EQ(bytes, "new");
}

TEST_F(BlkverifyDriverTest, TheTestedChildMayGrowAndKeepsItsSize) {
  const std::vector<Edge*> children = node_->driver().children();
  const Permissions own{.used = Permission::kWrite, .shared = Permission::kWrite | Permission::kResize};
  const Permissions test = node_->driver().child_permissions(*children[0], own, false);
  EXPECT_EQ(test.used, Permission::kWrite | Permission::kResize);
  EXPECT_EQ(test.shared, Permission::kWrite);
  EXPECT_EQ(node_->driver().child_permissions(*children[1], own, false), own);
}

}  // namespace
}  // namespace blockexport::drivers
