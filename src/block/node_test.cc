#include "block/node.h"

#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"

namespace blockexport::block {
namespace {

using Calls = std::vector<std::string>;

class NodeTest : public ReactorTest {
 protected:
  std::unique_ptr<Node> node(MemoryDriverState& state, NodeOptions options = {}) {
    return std::make_unique<Node>("disk", std::make_unique<MemoryDriver>(state), options);
  }
  IoResult read(Node& node, std::uint64_t offset, std::span<std::byte> bytes) {
    iovec vector{bytes.data(), bytes.size()};
    return run(node.read(Range{offset, bytes.size()}, IoBuffers(&vector, 1)));
  }
  IoResult write(Node& node, std::uint64_t offset, std::span<const std::byte> bytes, WriteOptions options = {}) {
    iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
    return run(node.write(Range{offset, bytes.size()}, IoBuffers(&vector, 1), options));
  }
  static std::vector<std::byte> filled(std::size_t size, int value) {
    return std::vector<std::byte>(size, static_cast<std::byte>(value));
  }
};

TEST_F(NodeTest, ReadsAndWritesReachTheDriverUnchanged) {
  MemoryDriverState state(4096);
  auto disk = node(state);
  ASSERT_TRUE(write(*disk, 3, filled(5, 7), {.force_unit_access = true}));
  auto got = filled(7, 1);
  ASSERT_TRUE(read(*disk, 2, got));
  EXPECT_EQ(got[0], std::byte{0});
  EXPECT_EQ(got[1], std::byte{7});
  EXPECT_EQ(got[6], std::byte{0});
  EXPECT_EQ(state.calls, (Calls{"write 3+5 fua", "read 2+7"}));
}

TEST_F(NodeTest, RefusesRangesPastTheEnd) {
  MemoryDriverState state(4096);
  auto disk = node(state);
  auto bytes = filled(2, 1);
  EXPECT_EQ(read(*disk, 4095, bytes).error(), Errno(EINVAL));
  EXPECT_EQ(write(*disk, 4095, bytes).error(), Errno(ENOSPC));
  EXPECT_EQ(run(disk->write_zeroes({UINT64_MAX, 2}, {})).error(), Errno(ENOSPC));
  EXPECT_EQ(run(disk->discard({0, UINT64_MAX})).error(), Errno(EINVAL));
  EXPECT_EQ(run(disk->prefetch({4096, 1})).error(), Errno(EINVAL));
  Extents extents;
  EXPECT_EQ(run(disk->extents({4097, 0}, extents)).error(), Errno(EINVAL));
  EXPECT_TRUE(state.calls.empty());
}

TEST_F(NodeTest, AReadOnlyNodeRefusesChanges) {
  MemoryDriverState state(4096);
  auto disk = node(state, {.read_only = true});
  EXPECT_EQ(write(*disk, 0, filled(1, 1)).error(), Errno(EPERM));
  EXPECT_EQ(run(disk->write_zeroes({0, 1}, {})).error(), Errno(EPERM));
  EXPECT_EQ(run(disk->discard({0, 1})).error(), Errno(EPERM));
  EXPECT_TRUE(run(disk->flush()));
  EXPECT_TRUE(state.calls.empty());
}

TEST_F(NodeTest, EmptyRequestsSucceed) {
  MemoryDriverState state(4096);
  auto disk = node(state);
  EXPECT_TRUE(read(*disk, 4096, {}));
  EXPECT_TRUE(write(*disk, 4096, {}));
  EXPECT_TRUE(run(disk->write_zeroes({0, 0}, {})));
  EXPECT_TRUE(run(disk->discard({0, 0})));
  EXPECT_TRUE(state.calls.empty());
}

TEST_F(NodeTest, DiscardIsIgnoredUnlessEnabled) {
  MemoryDriverState state(4096);
  auto ignoring = node(state);
  EXPECT_TRUE(run(ignoring->discard({0, 4096})));
  EXPECT_TRUE(run(ignoring->write_zeroes({0, 512}, {.may_unmap = true})));
  EXPECT_EQ(state.calls, (Calls{"write_zeroes 0+512"}));
  state.calls.clear();
  auto unmapping = node(state, {.discard = DiscardMode::kUnmap});
  EXPECT_TRUE(run(unmapping->discard({0, 4096})));
  EXPECT_TRUE(run(unmapping->write_zeroes({0, 512}, {.may_unmap = true})));
  EXPECT_EQ(state.calls, (Calls{"discard 0+4096", "write_zeroes 0+512 unmap"}));
}

TEST_F(NodeTest, DetectsZeroesWhenEnabled) {
  MemoryDriverState state(4096);
  auto disk = node(state, {.discard = DiscardMode::kUnmap, .detect_zeroes = DetectZeroes::kUnmap});
  EXPECT_TRUE(write(*disk, 0, filled(512, 0)));
  EXPECT_TRUE(write(*disk, 0, filled(512, 1)));
  disk->set_options({.detect_zeroes = DetectZeroes::kOn});
  EXPECT_TRUE(write(*disk, 0, filled(512, 0)));
  EXPECT_EQ(state.calls, (Calls{"write_zeroes 0+512 unmap", "write 0+512", "write_zeroes 0+512"}));
}

TEST_F(NodeTest, FlushesOnlyAfterAWrite) {
  MemoryDriverState state(4096);
  auto disk = node(state);
  EXPECT_TRUE(run(disk->flush()));
  EXPECT_TRUE(state.calls.empty());
  EXPECT_TRUE(write(*disk, 0, filled(1, 1)));
  EXPECT_TRUE(run(disk->flush()));
  EXPECT_TRUE(run(disk->flush()));
  EXPECT_EQ(state.calls, (Calls{"write 0+1", "flush"}));
  EXPECT_TRUE(write(*disk, 0, filled(1, 1)));
  state.error = EIO;
  EXPECT_EQ(run(disk->flush()).error(), Errno(EIO));
  state.error = 0;
  state.calls.clear();
  EXPECT_TRUE(run(disk->flush()));
  EXPECT_EQ(state.calls, (Calls{"flush"}));
}

TEST_F(NodeTest, SplitsRequestsThatAreTooLong) {
  MemoryDriverState state(4096, {.transfer_bytes_max = 1024});
  auto disk = node(state);
  auto bytes = filled(2500, 3);
  EXPECT_TRUE(write(*disk, 10, bytes));
  auto got = filled(2500, 0);
  EXPECT_TRUE(read(*disk, 10, got));
  EXPECT_EQ(got, bytes);
  EXPECT_EQ(state.calls, (Calls{"write 10+1024", "write 1034+1024", "write 2058+452", "read 10+1024", "read 1034+1024",
                                "read 2058+452"}));
}

TEST_F(NodeTest, ReadsUnalignedRangesThroughABounceBuffer) {
  MemoryDriverState state(4096, {.request_alignment = 512, .memory_alignment = 512});
  for (std::size_t i = 0; i < state.bytes.size(); i++) state.bytes[i] = static_cast<std::byte>(i / 3);
  auto disk = node(state);
  auto got = filled(1000, 0);
  EXPECT_TRUE(read(*disk, 700, got));
  EXPECT_TRUE(std::equal(got.begin(), got.end(), state.bytes.begin() + 700));
  EXPECT_EQ(state.calls, (Calls{"read 512+1536"}));
}

TEST_F(NodeTest, ReportsTheMemoryOfItsBounceBuffers) {
  MemoryDriverState state(16u << 20, {.request_alignment = 512, .memory_alignment = 512});
  auto disk = node(state);
  EXPECT_EQ(disk->bounce_bytes({512, 1024}), 0u);
  EXPECT_EQ(disk->bounce_bytes({700, 1000}), 1536u);
  EXPECT_EQ(disk->bounce_bytes({1, 8u << 20}), (1u << 20) + 1024);
  EXPECT_EQ(disk->bounce_bytes_of_zeroes({512, 1024}), 0u);
  EXPECT_EQ(disk->bounce_bytes_of_zeroes({1, 8u << 20}), 2560u);
  MemoryDriverState any(4096);
  EXPECT_EQ(node(any)->bounce_bytes({1, 1}), 0u);
}

TEST_F(NodeTest, WritesUnalignedRangesByReadingTheirBlocks) {
  MemoryDriverState state(4096, {.request_alignment = 512, .memory_alignment = 512});
  state.bytes = filled(4096, 9);
  auto disk = node(state);
  EXPECT_TRUE(write(*disk, 700, filled(1000, 1)));
  EXPECT_EQ(state.bytes[699], std::byte{9});
  EXPECT_EQ(state.bytes[700], std::byte{1});
  EXPECT_EQ(state.bytes[1699], std::byte{1});
  EXPECT_EQ(state.bytes[1700], std::byte{9});
  EXPECT_EQ(state.calls, (Calls{"read 512+512", "read 1536+512", "write 512+1536"}));
}

TEST_F(NodeTest, ZeroesWholeBlocksAndWritesTheEdges) {
  MemoryDriverState state(4096, {.request_alignment = 512, .memory_alignment = 512});
  state.bytes = filled(4096, 9);
  auto disk = node(state);
  EXPECT_TRUE(run(disk->write_zeroes({500, 1100}, {})));
  for (std::size_t i = 0; i < 4096; i++) EXPECT_EQ(state.bytes[i], std::byte(i >= 500 && i < 1600 ? 0 : 9)) << i;
  EXPECT_EQ(state.calls,
            (Calls{"write_zeroes 512+1024", "read 0+512", "write 0+512", "read 1536+512", "write 1536+512"}));
}

TEST_F(NodeTest, RefusedZeroesHaveChangedNothing) {
  MemoryDriverState state(4096, {.request_alignment = 512, .memory_alignment = 512});
  state.bytes = filled(4096, 9);
  auto disk = node(state);
  EXPECT_EQ(run(disk->write_zeroes({500, 1100}, {.no_fallback = true})).error(), Errno(ENOTSUP));
  EXPECT_EQ(state.bytes, filled(4096, 9));
  // After the first change ENOTSUP, which means "nothing has changed", is not a valid result.
  state.fast_zeroes = true;
  state.write_error = ENOTSUP;
  EXPECT_EQ(run(disk->write_zeroes({500, 1100}, {.no_fallback = true})).error(), Errno(EIO));
  EXPECT_EQ(state.bytes[512], std::byte{0});
  state.write_error = 0;
  EXPECT_TRUE(run(disk->write_zeroes({500, 1100}, {.no_fallback = true})));
  for (std::size_t i = 0; i < 4096; i++) EXPECT_EQ(state.bytes[i], std::byte(i >= 500 && i < 1600 ? 0 : 9)) << i;
}

TEST_F(NodeTest, DiscardsOnlyWholeBlocks) {
  MemoryDriverState state(4096, {.request_alignment = 512});
  auto disk = node(state, {.discard = DiscardMode::kUnmap});
  EXPECT_TRUE(run(disk->discard({500, 1100})));
  EXPECT_TRUE(run(disk->discard({1, 500})));
  EXPECT_EQ(state.calls, (Calls{"discard 512+1024"}));
}

TEST_F(NodeTest, AReadModifyWriteDoesNotUndoAWriteOfItsNeighbours) {
  MemoryDriverState state(4096, {.request_alignment = 512, .memory_alignment = 512});
  aio::Event pause(reactor());
  state.read_pause = &pause;
  auto disk = node(state);
  AlignedMemory block(512, 512);
  std::ranges::fill(block.bytes(), std::byte{5});
  std::byte one{1};
  iovec small{&one, 1};
  iovec whole{block.bytes().data(), 512};
  // It has read the block and waits.
  start([](Node& to, iovec& from) -> aio::Task<void> {
    EXPECT_TRUE(co_await to.write({10, 1}, IoBuffers(&from, 1), {}));
  }(*disk, small));
  start([](Node& to, iovec& from, aio::Event& go) -> aio::Task<void> {
    go.set();
    EXPECT_TRUE(co_await to.write({0, 512}, IoBuffers(&from, 1), {}));
  }(*disk, whole, pause));
  until_idle();
  EXPECT_EQ(state.calls, (Calls{"read 0+512", "write 0+512", "write 0+512"}));
  EXPECT_EQ(state.bytes[9], std::byte{5});
}

TEST_F(NodeTest, TryVerbsAcceptOnlySuitableRequests) {
  MemoryDriverState state(4096);
  auto disk = node(state);
  auto bytes = filled(512, 4);
  iovec vector{bytes.data(), bytes.size()};
  IoBuffers buffers(&vector, 1);
  EXPECT_TRUE(disk->try_write(reactor(), {0, 512}, buffers));
  EXPECT_TRUE(disk->try_read(reactor(), {512, 512}, buffers));
  EXPECT_EQ(disk->try_read(reactor(), {4000, 512}, buffers).error(), Errno(EAGAIN));
  state.try_verbs = false;
  EXPECT_EQ(disk->try_read(reactor(), {0, 512}, buffers).error(), Errno(EAGAIN));
  EXPECT_EQ(disk->statistics().read.operations(), 1u);
  EXPECT_EQ(disk->statistics().write.bytes(), 512u);
  EXPECT_EQ(disk->statistics().read.failed(), 0u);
  state.try_verbs = true;
  disk->set_options({.read_only = true});
  EXPECT_EQ(disk->try_write(reactor(), {0, 512}, buffers).error(), Errno(EAGAIN));
}

TEST_F(NodeTest, TryExtentsIsForRangesInside) {
  MemoryDriverState state(4096, {.request_alignment = 512});
  auto disk = node(state);
  Extents extents;
  EXPECT_TRUE(disk->try_extents(reactor(), {7, 9}, extents));
  EXPECT_EQ(extents, (Extents{{.length = 9, .data = true}}));
  EXPECT_EQ(disk->try_extents(reactor(), {4090, 7}, extents).error(), Errno(EAGAIN));
  EXPECT_EQ(disk->try_extents(reactor(), {7, 0}, extents).error(), Errno(EAGAIN));
  EXPECT_EQ(state.calls, (Calls{"try_extents 7+9"}));
}

TEST_F(NodeTest, CountsTheRequestsOfAMergedWriteOnlyIfItSucceeds) {
  MemoryDriverState state(4096);
  auto disk = node(state);
  auto bytes = filled(1536, 4);
  iovec vector{bytes.data(), bytes.size()};
  EXPECT_TRUE(disk->try_write(reactor(), {0, 1536}, IoBuffers(&vector, 1), 3));
  EXPECT_EQ(disk->statistics().write.operations(), 3u);
  EXPECT_EQ(disk->statistics().write.bytes(), 1536u);
  state.error = EIO;
  EXPECT_EQ(disk->try_write(reactor(), {0, 1536}, IoBuffers(&vector, 1), 3).error(), Errno(EIO));
  EXPECT_EQ(disk->statistics().write.failed(), 0u);
}

TEST_F(NodeTest, CountsASharedReadOnceEvenIfAPartIsReadLater) {
  MemoryDriverState state(4096);
  state.bytes = filled(4096, 5);
  state.shares = true;
  auto disk = node(state);
  ASSERT_TRUE(disk->try_share(reactor(), {0, 4096}));
  auto bytes = filled(1024, 0);
  iovec vector{bytes.data(), bytes.size()};
  EXPECT_TRUE(run(disk->read_shared({1024, 1024}, IoBuffers(&vector, 1))));
  EXPECT_EQ(bytes, filled(1024, 5));
  EXPECT_EQ(state.calls, (Calls{"read 1024+1024"}));
  EXPECT_EQ(disk->statistics().read.operations(), 1u);
  EXPECT_EQ(disk->statistics().read.bytes(), 4096u);
  // Only this node knows of the failure.
  state.error = EIO;
  EXPECT_EQ(run(disk->read_shared({1024, 1024}, IoBuffers(&vector, 1))).error(), Errno(EIO));
  EXPECT_EQ(disk->statistics().read.failed(), 1u);
  EXPECT_EQ(run(disk->read_shared({4000, 1024}, IoBuffers(&vector, 1))).error(), Errno(EINVAL));
}

TEST_F(NodeTest, ReadsASharedPartThroughABounceBufferAfterAReopenForDirectIo) {
  MemoryDriverState state(4096, {.request_alignment = 512, .memory_alignment = 512});
  state.bytes = filled(4096, 5);
  auto disk = node(state);
  auto bytes = filled(100, 0);
  iovec vector{bytes.data(), bytes.size()};
  EXPECT_TRUE(run(disk->read_shared({1000, 100}, IoBuffers(&vector, 1))));
  EXPECT_EQ(bytes, filled(100, 5));
  EXPECT_EQ(state.calls, (Calls{"read 512+1024"}));
}

TEST_F(NodeTest, CountsItsRequests) {
  MemoryDriverState state(4096);
  auto disk = node(state, {.discard = DiscardMode::kUnmap});
  EXPECT_TRUE(write(*disk, 100, filled(50, 1)));
  EXPECT_TRUE(write(*disk, 10, filled(50, 1)));
  EXPECT_TRUE(run(disk->discard({0, 512})));
  auto bytes = filled(5000, 0);
  EXPECT_FALSE(read(*disk, 0, bytes));
  const NodeStatistics statistics = disk->statistics();
  EXPECT_EQ(statistics.write.operations(), 2u);
  EXPECT_EQ(statistics.write.bytes(), 100u);
  EXPECT_EQ(statistics.highest_written_offset, 150u);
  EXPECT_EQ(statistics.discard.bytes(), 512u);
  EXPECT_EQ(statistics.read.failed(), 1u);
  EXPECT_EQ(statistics.read.operations(), 0u);
}

}  // namespace
}  // namespace blockexport::block
