// Durability at the driver: a flush after any change reaches it, and so does FUA on every path.
#include <gtest/gtest.h>

#include "block/node.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"

namespace blockexport::block {
namespace {

using Calls = std::vector<std::string>;

class NodeDurabilityTest : public ReactorTest {
 protected:
  Node& disk(NodeOptions options = {.discard = DiscardMode::kUnmap}) {
    node_ = std::make_unique<Node>("disk", std::make_unique<MemoryDriver>(state_), options);
    return *node_;
  }
  Node& disk_with_blocks(NodeOptions options = {}) {
    state_.limits = {.request_alignment = 512, .memory_alignment = 512};
    return disk(options);
  }
  aio::Task<IoResult> write(Range range, int fill = 1, bool force_unit_access = false) {
    alignas(512) static std::byte bytes[4096];
    std::memset(bytes, fill, sizeof bytes);
    iovec vector{bytes, range.length};
    co_return co_await node_->write(range, IoBuffers(&vector, 1), {.force_unit_access = force_unit_access});
  }
  std::size_t flushes() const { return static_cast<std::size_t>(std::ranges::count(state_.calls, "flush")); }

  MemoryDriverState state_{8192};
  std::unique_ptr<Node> node_;
};

TEST_F(NodeDurabilityTest, EveryChangeNeedsTheNextFlush) {
  Node& node = disk();
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(flushes(), 0u) << "nothing has changed";
  EXPECT_TRUE(run(write({0, 512})));
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(flushes(), 1u);
  EXPECT_TRUE(run(node.write_zeroes({0, 512}, {})));
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(flushes(), 2u);
  EXPECT_TRUE(run(node.discard({0, 4096})));
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(flushes(), 3u);
  EXPECT_TRUE(run(node.resize(4096)));
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(flushes(), 4u);
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(flushes(), 4u) << "nothing has changed since";
}

TEST_F(NodeDurabilityTest, AnInlineWriteNeedsTheNextFlush) {
  Node& node = disk();
  std::byte bytes[512] = {};
  iovec vector{bytes, sizeof bytes};
  ASSERT_TRUE(node.try_write(reactor(), {0, 512}, IoBuffers(&vector, 1)));
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(flushes(), 1u);
}

// The failed write may have written a part.
TEST_F(NodeDurabilityTest, AWriteThatFailedNeedsTheNextFlush) {
  Node& node = disk();
  state_.write_error = EIO;
  EXPECT_FALSE(run(write({0, 512})));
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(flushes(), 1u);
}

TEST_F(NodeDurabilityTest, AWriteInPiecesEndsWithThePieceThatFailed) {
  state_.limits = {.transfer_bytes_max = 512};
  disk();
  state_.write_error = ENOSPC;
  state_.write_error_from = 512;
  EXPECT_EQ(run(write({0, 2048})).error(), Errno(ENOSPC));
  EXPECT_EQ(state_.calls, (Calls{"write 0+512"}));
}

TEST_F(NodeDurabilityTest, AfterAFlushThatFailedTheNextOneReachesTheDriver) {
  Node& node = disk();
  EXPECT_TRUE(run(write({0, 512})));
  state_.error = EIO;
  EXPECT_FALSE(run(node.flush()));
  EXPECT_FALSE(run(node.flush()));
  state_.error = 0;
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(flushes(), 3u);
}

TEST_F(NodeDurabilityTest, AWriteThatEndsDuringAFlushNeedsTheNextOne) {
  Node& node = disk();
  EXPECT_TRUE(run(write({0, 512})));
  aio::Event pause(reactor());
  state_.flush_pause = &pause;
  IoResult flushed = fail(EINPROGRESS);
  aio::Scope flushing(reactor());
  flushing.spawn("flush",
                 [](Node& of, IoResult& result) -> aio::Task<void> { result = co_await of.flush(); }(node, flushed));
  while (flushes() == 0) reactor().run_once(0);
  EXPECT_TRUE(run(write({512, 512})));
  state_.flush_pause = nullptr;
  pause.set();
  run(flushing.join());
  EXPECT_TRUE(flushed);
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(flushes(), 2u);
}

TEST_F(NodeDurabilityTest, ForceUnitAccessReachesTheDriverThroughABounceBuffer) {
  disk_with_blocks();
  EXPECT_TRUE(run(write({3, 5}, 1, true)));
  EXPECT_EQ(state_.calls, (Calls{"read 0+512", "write 0+512 fua"}));
}

TEST_F(NodeDurabilityTest, ForceUnitAccessReachesTheDriverWithZeroesAndTheirEnds) {
  Node& node = disk_with_blocks();
  EXPECT_TRUE(run(node.write_zeroes({500, 1100}, {.force_unit_access = true})));
  EXPECT_EQ(state_.calls, (Calls{"write_zeroes 512+1024 fua", "read 0+512", "write 0+512 fua", "read 1536+512",
                                 "write 1536+512 fua"}));
}

TEST_F(NodeDurabilityTest, ForceUnitAccessReachesTheDriverWithZeroesThatWereDetected) {
  disk({.detect_zeroes = DetectZeroes::kOn});
  EXPECT_TRUE(run(write({0, 512}, 0, true)));
  EXPECT_EQ(state_.calls, (Calls{"write_zeroes 0+512 fua"}));
}

// Another write may be changing the rest of its block.
TEST_F(NodeDurabilityTest, ANodeWithBlocksRefusesInlineWrites) {
  Node& node = disk_with_blocks();
  alignas(512) std::byte bytes[512] = {};
  iovec vector{bytes, sizeof bytes};
  EXPECT_EQ(node.try_write(reactor(), {0, 512}, IoBuffers(&vector, 1)).error(), Errno(EAGAIN));
  EXPECT_TRUE(state_.calls.empty());
}

}  // namespace
}  // namespace blockexport::block
