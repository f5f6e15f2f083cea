#include "drivers/compress/compress_driver.h"

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
using Calls = std::vector<std::string>;

class CompressDriverTest : public block::ReactorTest {
 protected:
  Result<std::unique_ptr<CompressDriver>> open() {
    return CompressDriver::open(std::make_unique<Edge>(file_, block::EdgeParent{.name = "file"}, Permissions{}));
  }

  MemoryDriverState state_{4096, {.discard_alignment = 1024}};
  Node file_{"file", std::make_unique<MemoryDriver>(state_), {.discard = block::DiscardMode::kUnmap}};
};

TEST_F(CompressDriverTest, RefusesAChildWhoseFormatHasNoCompressedForm) {
  const auto driver = open();
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().message(), "Compression is not supported for underlying format: memory");
}

TEST_F(CompressDriverTest, ForwardsEveryVerbAndAsksForCompressedWrites) {
  state_.compresses = true;
  auto opened = open();
  ASSERT_TRUE(opened);
  CompressDriver& compress = **opened;
  EXPECT_EQ(compress.size_bytes(), 4096u);
  EXPECT_EQ(compress.format_name(), "compress");
  // As in the reference, no compress filter stands on another one.
  EXPECT_FALSE(compress.can_compress());
  char byte = 'x';
  iovec vector{&byte, 1};
  const block::IoBuffers buffers(&vector, 1);
  EXPECT_TRUE(run(compress.write({5, 1}, buffers, {.force_unit_access = true})));
  EXPECT_TRUE(run(compress.write({6, 1}, buffers, {})));
  EXPECT_TRUE(run(compress.read({5, 1}, buffers)));
  block::InlineHints hints;
  EXPECT_TRUE(compress.try_read(reactor(), {6, 1}, buffers, hints));
  EXPECT_EQ(compress.try_write(reactor(), {7, 1}, buffers, hints), IoResult(fail(EAGAIN)));
  EXPECT_TRUE(run(compress.write_zeroes({8, 2}, {.may_unmap = true})));
  EXPECT_TRUE(run(compress.discard({1024, 2048})));
  EXPECT_TRUE(run(compress.flush()));
  EXPECT_TRUE(run(compress.prefetch({9, 2})));
  block::Extents extents;
  EXPECT_TRUE(run(compress.extents({0, 2048}, extents)));
  EXPECT_EQ(extents, (block::Extents{{.length = 2048, .data = true}}));
  EXPECT_TRUE(compress.try_extents(reactor(), {10, 100}, extents));
  EXPECT_EQ(state_.calls, (Calls{"write 5+1 fua compressed", "write 6+1 compressed", "read 5+1", "try_read 6+1",
                                 "write_zeroes 8+2 unmap", "discard 1024+2048", "flush", "try_extents 10+100"}));
}

TEST_F(CompressDriverTest, SharesTheBytesOfItsChild) {
  state_.compresses = true;
  state_.shares = true;
  auto compress = open();
  ASSERT_TRUE(compress);
  const auto span = (*compress)->try_share(reactor(), {512, 1024});
  ASSERT_TRUE(span);
  EXPECT_EQ(span->offset, 512u);
  const auto place = run((*compress)->locate({100, 50}));
  ASSERT_TRUE(place);
  EXPECT_EQ(place->kind, block::DataPlaceKind::kPassed);
  EXPECT_EQ(place->node, &file_);
  EXPECT_EQ(place->offset, 100u);
}

TEST_F(CompressDriverTest, PrefersWholeClustersAndNeedsNoAlignment) {
  state_.compresses = true;
  state_.limits.optimal_bytes = 512;
  file_.refresh_limits();
  auto compress = open();
  ASSERT_TRUE(compress);
  EXPECT_EQ((*compress)->limits().optimal_bytes, 1024u);
  EXPECT_EQ((*compress)->limits().request_alignment, 1u);
}

TEST_F(CompressDriverTest, HasTheSizeOfItsChild) {
  state_.compresses = true;
  auto compress = open();
  ASSERT_TRUE(compress);
  EXPECT_FALSE((*compress)->can_grow());
  EXPECT_TRUE(run((*compress)->resize(8192)));
  EXPECT_EQ((*compress)->size_bytes(), 8192u);
  const Permissions own{.used = Permission::kWrite, .shared = Permission::kConsistentRead};
  EXPECT_EQ((*compress)->child_permissions(*(*compress)->children()[0], own, false), own);
}

}  // namespace
}  // namespace blockexport::drivers
