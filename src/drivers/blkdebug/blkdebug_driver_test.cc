#include "drivers/blkdebug/blkdebug_driver.h"

#include <gtest/gtest.h>

#include "aio/sync/sync.h"
#include "block/debug_events.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"
#include "schema/block_core.h"

namespace blockexport::drivers {
namespace {

using block::DebugEvent;
using block::IoBuffers;
using block::Node;
using block::Range;

class BlkdebugDriverTest : public block::ReactorTest {
 protected:
  // The error, or "".
  std::string open(BlkdebugOptions options) {
    child_ = std::make_unique<Node>("child", std::make_unique<block::MemoryDriver>(state_),
                                    block::NodeOptions{.discard = block::DiscardMode::kUnmap});
    auto edge = std::make_unique<block::Edge>(*child_, block::EdgeParent{.name = "image"}, block::Permissions{});
    auto driver = BlkdebugDriver::open(std::move(options), std::move(edge));
    if (!driver) return driver.error().message();
    driver_ = driver->get();
    node_ =
        std::make_unique<Node>("debug", std::move(*driver), block::NodeOptions{.discard = block::DiscardMode::kUnmap});
    return "";
  }
  ~BlkdebugDriverTest() override { node_.reset(); }

  int read(Range range) {
    bytes_.assign(range.length, 'r');
    const iovec vector{bytes_.data(), bytes_.size()};
    return error_of(run(node_->read(range, IoBuffers(&vector, 1))));
  }
  int write(Range range, block::WriteOptions options = {}) {
    bytes_.assign(range.length, 'w');
    const iovec vector{bytes_.data(), bytes_.size()};
    return error_of(run(node_->write(range, IoBuffers(&vector, 1), options)));
  }
  int zero(Range range) { return error_of(run(node_->write_zeroes(range, {}))); }
  int discard(Range range) { return error_of(run(node_->discard(range))); }
  int extents(Range range) {
    block::Extents extents;
    return error_of(run(node_->extents(range, extents)));
  }
  int try_read(Range range) {
    bytes_.assign(range.length, 'r');
    const iovec vector{bytes_.data(), bytes_.size()};
    return error_of(node_->try_read(reactor(), range, IoBuffers(&vector, 1)));
  }
  static int error_of(const IoResult& result) { return result ? 0 : result.error().value(); }
  using Calls = std::vector<std::string>;

  block::MemoryDriverState state_{8192};
  std::unique_ptr<Node> child_;
  std::unique_ptr<Node> node_;
  BlkdebugDriver* driver_ = nullptr;
  std::string bytes_;
};

TEST_F(BlkdebugDriverTest, WithoutRulesItForwardsAndListensToNobody) {
  ASSERT_EQ(open({}), "");
  EXPECT_EQ(driver_->debug_listener(), nullptr);
  EXPECT_EQ(write({0, 512}), 0);
  EXPECT_EQ(read({0, 512}), 0);
  EXPECT_EQ(try_read({0, 512}), 0);
  EXPECT_EQ(discard({512, 512}), 0);
  EXPECT_EQ(run(node_->flush()), IoResult());
  EXPECT_EQ(bytes_, std::string(512, 'w'));
  EXPECT_EQ(node_->size_bytes(), 8192u);
}

TEST_F(BlkdebugDriverTest, ARequestThatARuleFitsNeverReachesTheChild) {
  ASSERT_EQ(open({.rules = {.errors = {{.error = ENOSPC, .immediately = true}}}}), "");
  EXPECT_EQ(read({0, 512}), ENOSPC);
  EXPECT_EQ(write({0, 512}), ENOSPC);
  EXPECT_EQ(zero({0, 512}), ENOSPC);
  EXPECT_EQ(discard({0, 512}), ENOSPC);
  EXPECT_EQ(error_of(run(driver_->flush())), ENOSPC);
  EXPECT_EQ(state_.calls, Calls{});
  EXPECT_EQ(extents({0, 512}), 0);
}

TEST_F(BlkdebugDriverTest, WithRulesNothingIsAnsweredInline) {
  ASSERT_EQ(open({.rules = {.errors = {{.event = DebugEvent::kL2Load}}}}), "");
  EXPECT_EQ(try_read({0, 512}), EAGAIN);
  EXPECT_EQ(read({0, 512}), 0);
}

TEST_F(BlkdebugDriverTest, AnEventOfTheDriverAboveActivatesARule) {
  ASSERT_EQ(open({.rules = {.errors = {{.event = DebugEvent::kL2Update, .kind = RequestKind::kWrite, .once = true}}}}),
            "");
  block::Edge above(*node_, {.name = "file"}, {});
  EXPECT_EQ(write({0, 512}), 0);
  block::debug_event(above, DebugEvent::kL2Update);
  EXPECT_EQ(read({0, 512}), 0);
  EXPECT_EQ(write({0, 512}), EIO);
  EXPECT_EQ(write({0, 512}), 0);
}

TEST_F(BlkdebugDriverTest, ItsOwnRequestsAreEventsToo) {
  ASSERT_EQ(open({.limits = {.alignment = 512},
                  .rules = {.errors = {{.event = DebugEvent::kPwritev, .state = 1, .error = 1, .once = true},
                                       {.event = DebugEvent::kPwritevZero, .state = 2, .error = 2, .once = true},
                                       {.event = DebugEvent::kPwritevRmwHead, .state = 3, .error = 3, .once = true}},
                            .states = {{.event = DebugEvent::kPwritevDone, .state = 1, .new_state = 2},
                                       {.event = DebugEvent::kPwritevDone, .state = 2, .new_state = 3}}}}),
            "");
  EXPECT_EQ(write({0, 512}), 1);
  EXPECT_EQ(zero({0, 512}), 2);
  EXPECT_EQ(write({1, 511}), 3);
  EXPECT_EQ(state_.calls, Calls{});
}

TEST_F(BlkdebugDriverTest, ADelayEndsBeforeTheRequestGoesOn) {
  constexpr std::uint64_t kDelayNs = 3'000'000;
  ASSERT_EQ(open({.rules = {.errors = {{.error = 0, .delay_ns = kDelayNs}}}}), "");
  const std::uint64_t before_ns = reactor().now_ns();
  EXPECT_EQ(read({0, 512}), 0);
  EXPECT_GE(reactor().now_ns() - before_ns, kDelayNs);
  EXPECT_EQ(state_.calls, Calls{"read 0+512"});
}

TEST_F(BlkdebugDriverTest, LimitsAreThoseOfTheNode) {
  ASSERT_EQ(open({.limits = {.alignment = 1024,
                             .transfer_bytes_max = 2048,
                             .zeroes_alignment = 4096,
                             .zeroes_bytes_max = 4096,
                             .discard_alignment = 2048,
                             .discard_bytes_max = 4096}}),
            "");
  state_.fast_zeroes = true;
  EXPECT_EQ(write({0, 4096}), 0);
  EXPECT_EQ(read({1, 1}), 0);
  EXPECT_EQ(zero({1024, 7168}), 0);
  EXPECT_EQ(discard({1024, 7168}), 0);
  EXPECT_EQ(state_.calls, (Calls{"write 0+2048", "write 2048+2048", "read 0+1024", "write_zeroes 4096+4096",
                                 "write 1024+2048", "write 3072+1024", "discard 2048+4096", "discard 6144+2048"}));
}

TEST_F(BlkdebugDriverTest, AChildWhoseSizeIsNoMultipleOfTheAlignmentIsReadAndWrittenToItsEnd) {
  state_.bytes.resize(5000);
  ASSERT_EQ(open({.limits = {.alignment = 4096}}), "");
  EXPECT_EQ(node_->size_bytes(), 5000u);
  EXPECT_EQ(write({4500, 500}), 0);
  EXPECT_EQ(read({4400, 600}), 0);
  EXPECT_EQ(bytes_, std::string(100, '\0') + std::string(500, 'w'));
  EXPECT_EQ(zero({4096, 904}), 0);
  EXPECT_EQ(read({4400, 600}), 0);
  EXPECT_EQ(bytes_, std::string(600, '\0'));
  EXPECT_EQ(state_.bytes.size(), 5000u);
}

TEST_F(BlkdebugDriverTest, ItGrowsWithItsChild) {
  state_.grows = true;
  ASSERT_EQ(open({.rules = {.errors = {{.event = DebugEvent::kL2Load}}}}), "");
  EXPECT_EQ(write({8192, 512}, {.may_grow = true}), 0);
  EXPECT_EQ(node_->size_bytes(), 8704u);
}

TEST_F(BlkdebugDriverTest, LimitsThatContradictEachOtherAreErrors) {
  EXPECT_EQ(open({.limits = {.alignment = 3}}), "Cannot meet constraints with align 3");
  EXPECT_EQ(open({.limits = {.alignment = 131072}}), "Cannot meet constraints with align 131072");
  EXPECT_EQ(open({.limits = {.alignment = 4096, .transfer_bytes_max = 512}}),
            "Cannot meet constraints with max-transfer 512");
  EXPECT_EQ(open({.limits = {.transfer_bytes_max = 1u << 31}}), "Cannot meet constraints with max-transfer 2147483648");
  EXPECT_EQ(open({.limits = {.zeroes_alignment = 3}}), "Cannot meet constraints with opt-write-zero 3");
  EXPECT_EQ(open({.limits = {.zeroes_alignment = 65536, .zeroes_bytes_max = 4096}}),
            "Cannot meet constraints with max-write-zero 4096");
  EXPECT_EQ(open({.limits = {.alignment = 1024, .discard_alignment = 512}}),
            "Cannot meet constraints with opt-discard 512");
  EXPECT_EQ(open({.limits = {.alignment = 1024, .discard_bytes_max = 512}}),
            "Cannot meet constraints with max-discard 512");
}

TEST_F(BlkdebugDriverTest, PermissionsOfItsUsersAreChangedByItsOptions) {
  using block::Permission;
  ASSERT_EQ(open({.take = Permission::kResize, .unshare = Permission::kWrite}), "");
  const block::Permissions own{.used = Permission::kConsistentRead};
  const block::Permissions needed = driver_->child_permissions(*driver_->children().front(), own, false);
  EXPECT_EQ(needed.used, Permission::kConsistentRead | Permission::kResize);
  EXPECT_EQ(needed.shared, block::PermissionSet::all() - Permission::kWrite);
}

}  // namespace
}  // namespace blockexport::drivers
