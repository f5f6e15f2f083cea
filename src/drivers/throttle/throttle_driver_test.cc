#include "drivers/throttle/throttle_driver.h"

#include <map>
#include <string>

#include "block/reopen_children.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"
#include "schema/block_core.h"

namespace blockexport::drivers {
namespace {

using block::Edge;
using block::MemoryDriver;
using block::MemoryDriverState;
using block::Node;
using block::Permissions;
using Calls = std::vector<std::string>;

class Groups final : public ThrottleDirectory {
 public:
  std::shared_ptr<ThrottleGroup> find_throttle_group(std::string_view id) override {
    const auto found = groups.find(std::string(id));
    return found != groups.end() ? found->second : nullptr;
  }

  std::map<std::string, std::shared_ptr<ThrottleGroup>> groups;
};

class ThrottleDriverTest : public block::ReactorTest {
 protected:
  ThrottleDriverTest() {
    groups_.groups["free"] = std::make_shared<ThrottleGroup>(ThrottleLimits(), reactor().now_ns());
    ThrottleLimits slow;
    slow.of(ThrottleMetric::kRequests).average = 100;
    groups_.groups["slow"] = std::make_shared<ThrottleGroup>(slow, reactor().now_ns());
  }

  Result<std::unique_ptr<ThrottleDriver>> open(const std::string& group) {
    return ThrottleDriver::open(&groups_, group,
                                std::make_unique<Edge>(file_, block::EdgeParent{.name = "file"}, Permissions{}));
  }

  static schema::BlockdevOptions options_with(const std::string& group) {
    schema::BlockdevOptions options;
    options.branch = schema::BlockdevOptionsThrottle{.throttle_group = group, .file = {std::string("file")}};
    return options;
  }

  // Each verb that may have to wait, once.
  void use(ThrottleDriver& driver) {
    char byte = 'x';
    iovec vector{&byte, 1};
    const block::IoBuffers buffers(&vector, 1);
    EXPECT_TRUE(run(driver.read({0, 1}, buffers)));
    EXPECT_TRUE(run(driver.write({1, 1}, buffers, {.force_unit_access = true, .compressed = true})));
    EXPECT_TRUE(run(driver.write_zeroes({2, 1}, {.may_unmap = true})));
    EXPECT_TRUE(run(driver.discard({0, 512})));
    EXPECT_TRUE(run(driver.prefetch({0, 512})));
  }

  Groups groups_;
  MemoryDriverState state_{4096};
  Node file_{"file", std::make_unique<MemoryDriver>(state_), {.discard = block::DiscardMode::kUnmap}};
};

const Calls kAll = {"read 0+1", "write 1+1 fua compressed", "write_zeroes 2+1 unmap", "discard 0+512"};

TEST_F(ThrottleDriverTest, NeedsAGroup) {
  const auto driver = open("none");
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().message(), "Throttle group 'none' does not exist");
}

TEST_F(ThrottleDriverTest, ForwardsEverythingAtOnceWithoutLimits) {
  auto opened = open("free");
  ASSERT_TRUE(opened);
  ThrottleDriver& driver = **opened;
  EXPECT_EQ(driver.format_name(), "throttle");
  EXPECT_EQ(driver.size_bytes(), 4096u);
  state_.compresses = true;
  EXPECT_TRUE(driver.can_compress());
  use(driver);
  char byte = 'x';
  iovec vector{&byte, 1};
  const block::IoBuffers buffers(&vector, 1);
  block::InlineHints hints;
  EXPECT_TRUE(driver.try_read(reactor(), {3, 1}, buffers, hints));
  EXPECT_TRUE(driver.try_write(reactor(), {4, 1}, buffers, hints));
  state_.shares = true;
  EXPECT_TRUE(driver.try_share(reactor(), {5, 1}));
  Calls expected = kAll;
  expected.insert(expected.end(), {"try_read 3+1", "try_write 4+1"});
  EXPECT_EQ(state_.calls, expected);
}

TEST_F(ThrottleDriverTest, CountsEachRequestOnceWithLimits) {
  auto opened = open("slow");
  ASSERT_TRUE(opened);
  ThrottleDriver& driver = **opened;
  char byte = 'x';
  iovec vector{&byte, 1};
  const block::IoBuffers buffers(&vector, 1);
  block::InlineHints hints;
  EXPECT_EQ(driver.try_read(reactor(), {3, 1}, buffers, hints), IoResult(fail(EAGAIN)));
  EXPECT_EQ(driver.try_write(reactor(), {4, 1}, buffers, hints), IoResult(fail(EAGAIN)));
  state_.shares = true;
  EXPECT_FALSE(driver.try_share(reactor(), {5, 1}));
  // Two times five requests go at once, and one more, then each waits for 10 ms.
  const std::uint64_t started_ns = reactor().now_ns();
  for (int i = 0; i < 4; ++i) use(driver);
  EXPECT_GE(reactor().now_ns() - started_ns, 85'000'000u);
  Calls expected;
  for (int i = 0; i < 4; ++i) expected.insert(expected.end(), kAll.begin(), kAll.end());
  EXPECT_EQ(state_.calls, expected);
}

TEST_F(ThrottleDriverTest, HoldsUpNeitherFlushesNorExtents) {
  ThrottleLimits limits;
  limits.of(ThrottleMetric::kRequests).average = 1;
  groups_.groups["slow"]->set_limits(limits, reactor().now_ns());
  auto opened = open("slow");
  ASSERT_TRUE(opened);
  const std::uint64_t started_ns = reactor().now_ns();
  char byte = 'x';
  iovec vector{&byte, 1};
  EXPECT_TRUE(run((*opened)->write({0, 1}, block::IoBuffers(&vector, 1), {})));
  for (int i = 0; i < 100; ++i) {
    block::Extents extents;
    EXPECT_TRUE(run((*opened)->flush()));
    EXPECT_TRUE(run((*opened)->extents({0, 512}, extents)));
  }
  EXPECT_LT(reactor().now_ns() - started_ns, 500'000'000u);
}

TEST_F(ThrottleDriverTest, PassesErrorsOn) {
  auto opened = open("slow");
  ASSERT_TRUE(opened);
  state_.error = EIO;
  char byte = 'x';
  iovec vector{&byte, 1};
  EXPECT_EQ(run((*opened)->read({0, 1}, block::IoBuffers(&vector, 1))), IoResult(fail(EIO)));
  EXPECT_EQ(run((*opened)->discard({0, 512})), IoResult(fail(EIO)));
}

// A change of the graph, without one.
class NoChildren final : public block::ReopenChildren {
 public:
  Result<std::unique_ptr<Edge>> add_child(const schema::BlockdevRef&, std::string_view, block::ChildRoles) override {
    return fail("no child");
  }
  void drop_child(Edge&) override {}
  const std::string& node_name() const override { return name_; }

 private:
  std::string name_ = "throttled";
};

TEST_F(ThrottleDriverTest, ChangesItsGroupInAReopen) {
  auto opened = open("free");
  ASSERT_TRUE(opened);
  ThrottleDriver& driver = **opened;
  NoChildren children;
  block::NodeOptions node_options;
  const schema::BlockdevOptions before = options_with("free");
  const Result<> refused = run(driver.prepare_reopen(before, options_with("none"), node_options, children));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message(), "Throttle group 'none' does not exist");

  EXPECT_TRUE(run(driver.prepare_reopen(before, options_with("slow"), node_options, children)));
  EXPECT_EQ(groups_.groups["slow"]->member_count(), 1u);
  run(driver.abort_reopen());
  EXPECT_EQ(groups_.groups["slow"]->member_count(), 0u);
  EXPECT_EQ(groups_.groups["free"]->member_count(), 1u);

  driver.held_requests()->begin_drain();
  EXPECT_TRUE(run(driver.prepare_reopen(before, options_with("slow"), node_options, children)));
  run(driver.commit_reopen());
  driver.held_requests()->end_drain();
  EXPECT_EQ(groups_.groups["slow"]->member_count(), 1u);
  EXPECT_EQ(groups_.groups["free"]->member_count(), 0u);
}

}  // namespace
}  // namespace blockexport::drivers
