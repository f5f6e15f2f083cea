#include "drivers/preallocate/preallocate_driver.h"

#include <cstring>
#include <string>
#include <vector>

#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"
#include "drivers/options.h"
#include "schema/block_core.h"

namespace blockexport::drivers {
namespace {

using block::Edge;
using block::MemoryDriver;
using block::MemoryDriverState;
using block::Node;
using block::Permission;
using block::Permissions;
using block::PermissionSet;
using Calls = std::vector<std::string>;

const Permissions kAlone{.used = Permission::kWrite | Permission::kResize,
                         .shared = PermissionSet::all() - (Permission::kWrite | Permission::kResize)};

class PreallocateDriverTest : public block::ReactorTest {
 protected:
  PreallocateDriverTest() {
    state_.grows = true;
    state_.fast_zeroes = true;
    EXPECT_TRUE(run(driver_->set_permissions(kAlone)));
  }

  IoResult write(std::uint64_t offset, std::uint64_t length) {
    std::vector<std::byte> bytes(length, std::byte{'x'});
    const iovec vector{bytes.data(), bytes.size()};
    return run(driver_->write({offset, length}, block::IoBuffers(&vector, 1), {.may_grow = true}));
  }

  MemoryDriverState state_{1000};
  Node file_{"file", std::make_unique<MemoryDriver>(state_)};
  std::unique_ptr<PreallocateDriver> driver_ = std::make_unique<PreallocateDriver>(
      PreallocateOptions{.alignment_bytes = 1024, .step_bytes = 4096},
      std::make_unique<Edge>(file_, block::EdgeParent{.name = "file"}, Permissions{}));
};

TEST_F(PreallocateDriverTest, AllocatesSpaceBeyondAWriteAndHidesIt) {
  EXPECT_EQ(driver_->size_bytes(), 1000u);
  ASSERT_TRUE(write(1000, 24));
  EXPECT_EQ(driver_->size_bytes(), 1024u);
  EXPECT_EQ(state_.bytes.size(), 5120u);
  ASSERT_TRUE(write(1100, 100));
  EXPECT_EQ(driver_->size_bytes(), 1200u);
  EXPECT_EQ(state_.bytes.size(), 5120u);
  EXPECT_EQ(state_.calls, (Calls{"write_zeroes 1000+4120", "write 1000+24", "write 1100+100"}));
  // The end is aligned.
  ASSERT_TRUE(write(5121, 1));
  EXPECT_EQ(state_.bytes.size(), 10240u);
  EXPECT_EQ(driver_->size_bytes(), 5122u);
  for (std::size_t i = 1200; i < 5121; ++i) ASSERT_EQ(state_.bytes[i], std::byte{0}) << i;
}

TEST_F(PreallocateDriverTest, LeavesWritesWithinTheFileAlone) {
  ASSERT_TRUE(write(0, 1000));
  EXPECT_EQ(state_.calls, Calls{"write 0+1000"});
  EXPECT_EQ(driver_->size_bytes(), 1000u);
}

TEST_F(PreallocateDriverTest, FindsZerosThatAreThere) {
  ASSERT_TRUE(write(1000, 24));
  state_.calls.clear();
  EXPECT_TRUE(run(driver_->write_zeroes({1500, 500}, {.may_grow = true})));
  EXPECT_EQ(driver_->size_bytes(), 2000u);
  EXPECT_EQ(state_.calls, Calls());
  // Bytes before the end of the node may be others.
  EXPECT_TRUE(run(driver_->write_zeroes({1990, 20}, {.may_grow = true})));
  EXPECT_EQ(state_.calls, Calls{"write_zeroes 1990+20"});
  state_.calls.clear();
  EXPECT_TRUE(run(driver_->write_zeroes({2010, 20}, {.force_unit_access = true, .may_grow = true})));
  EXPECT_EQ(state_.calls, Calls{"flush"});
  EXPECT_EQ(driver_->size_bytes(), 2030u);
}

TEST_F(PreallocateDriverTest, GrowsWithoutAWrite) {
  EXPECT_TRUE(run(driver_->grow(3000)));
  EXPECT_EQ(driver_->size_bytes(), 3000u);
  EXPECT_EQ(state_.bytes.size(), 7168u);
}

TEST_F(PreallocateDriverTest, CutsTheFileWhenItEnds) {
  ASSERT_TRUE(write(1000, 24));
  run(driver_->quiesce());
  EXPECT_EQ(state_.bytes.size(), 1024u);
  EXPECT_EQ(driver_->size_bytes(), 1024u);
  driver_->resume();
  ASSERT_TRUE(write(1024, 1));
  EXPECT_EQ(state_.bytes.size(), 6144u);
  // Nobody resizes it any more.
  EXPECT_TRUE(run(driver_->set_permissions({.used = Permission::kWrite, .shared = PermissionSet::all()})));
  EXPECT_EQ(state_.bytes.size(), 1025u);
  ASSERT_TRUE(write(1025, 1));
  EXPECT_EQ(state_.bytes.size(), 1026u);
  EXPECT_EQ(driver_->size_bytes(), 1026u);
}

TEST_F(PreallocateDriverTest, ResizesWhatItShows) {
  ASSERT_TRUE(write(1000, 24));
  EXPECT_TRUE(run(driver_->resize(3000)));
  EXPECT_EQ(driver_->size_bytes(), 3000u);
  EXPECT_EQ(state_.bytes.size(), 3000u);
  EXPECT_TRUE(run(driver_->resize(500)));
  EXPECT_EQ(driver_->size_bytes(), 500u);
}

TEST_F(PreallocateDriverTest, DoesWithoutSpaceThatCannotBeAllocated) {
  state_.fast_zeroes = false;
  ASSERT_TRUE(write(1000, 24));
  EXPECT_EQ(driver_->size_bytes(), 1024u);
  ASSERT_TRUE(write(9000, 24));
  EXPECT_EQ(driver_->size_bytes(), 9024u);
  run(driver_->quiesce());
  EXPECT_EQ(state_.bytes.size(), 9024u);
}

TEST_F(PreallocateDriverTest, CoversWhatAFailedWriteMayHaveChanged) {
  state_.write_error = EIO;
  EXPECT_EQ(write(1000, 24), IoResult(fail(EIO)));
  EXPECT_EQ(driver_->size_bytes(), 1024u);
  state_.write_error = 0;
  // These zeros are written, since other bytes may stand there.
  state_.calls.clear();
  EXPECT_TRUE(run(driver_->write_zeroes({1010, 100}, {.may_grow = true})));
  EXPECT_EQ(state_.calls, Calls{"write_zeroes 1010+100"});
}

TEST_F(PreallocateDriverTest, NeedsTheFileForItselfOnlyToGrowIt) {
  const Edge& child = *driver_->children()[0];
  const Permissions reading{.used = Permission::kConsistentRead, .shared = PermissionSet::all()};
  EXPECT_EQ(driver_->child_permissions(child, reading, false), reading);
  const Permissions growing{.used = Permission::kWrite | Permission::kResize, .shared = PermissionSet::all()};
  EXPECT_EQ(driver_->child_permissions(child, growing, false).shared, kAlone.shared);
}

TEST_F(PreallocateDriverTest, TakesSizesThatMakeNoSense) {
  auto huge = std::make_unique<PreallocateDriver>(
      PreallocateOptions{.alignment_bytes = std::uint64_t{1} << 62, .step_bytes = UINT64_MAX},
      std::make_unique<Edge>(file_, block::EdgeParent{.name = "file"}, Permissions{}));
  EXPECT_TRUE(run(huge->set_permissions(kAlone)));
  EXPECT_TRUE(run(huge->grow(2000)));
  EXPECT_EQ(huge->size_bytes(), 2000u);
  EXPECT_EQ(state_.bytes.size(), 2000u);
}

TEST(PreallocateOptionsTest, AreChecked) {
  schema::BlockdevOptionsPreallocate options;
  EXPECT_EQ(*preallocate_options(options), PreallocateOptions());
  options.prealloc_align = 3;
  EXPECT_EQ(preallocate_options(options).error().message(),
            "prealloc-align parameter of preallocate filter is not aligned to 512");
  options.prealloc_align = -512;
  EXPECT_EQ(preallocate_options(options).error().message(),
            "Value '-512' is out of range for parameter 'prealloc-align'");
  options = {.prealloc_align = 65536, .prealloc_size = 7};
  EXPECT_EQ(*preallocate_options(options), (PreallocateOptions{.alignment_bytes = 65536, .step_bytes = 7}));
}

}  // namespace
}  // namespace blockexport::drivers
