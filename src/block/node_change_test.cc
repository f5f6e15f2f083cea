// Changes as a node's listeners observe them, growth past the end, and requests split into the pieces that a driver
// supports.
#include <gtest/gtest.h>

#include <optional>

#include "block/node.h"
#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"

namespace blockexport::block {
namespace {

constexpr std::uint64_t kBytes = 8192;

using Events = std::vector<std::string>;

// Records its calls, and refuses or waits as a test tells it.
class Recorder final : public ChangeListener {
 public:
  IoResult try_before_change(aio::Reactor&, const Change& change) override {
    events.push_back("try before " + text_of(change));
    return error_at_once != 0 ? fail(error_at_once) : IoResult();
  }
  aio::Task<IoResult> before_change(Change change) override {
    events.push_back("before " + text_of(change));
    if (pause != nullptr) (void)co_await pause->wait();
    if (error != 0) co_return fail(error);
    co_return IoResult();
  }
  void changed(const Change& change) override { events.push_back("changed " + text_of(change)); }
  void cancelled(const Change& change) override { events.push_back("cancelled " + text_of(change)); }
  void resized(std::uint64_t before_bytes, std::uint64_t after_bytes) override {
    events.push_back("resized " + std::to_string(before_bytes) + " to " + std::to_string(after_bytes));
  }

  Events events;
  int error_at_once = 0;
  int error = 0;
  aio::Event* pause = nullptr;

 private:
  static std::string text_of(const Change& change) {
    constexpr const char* kKinds[] = {"write", "zeroes", "discard", "resize"};
    return std::string(kKinds[static_cast<std::size_t>(change.kind)]) + " " + std::to_string(change.range.offset) +
           "+" + std::to_string(change.range.length);
  }
};

class NodeChangeTest : public ReactorTest {
 protected:
  Node& make_node(Limits limits = {}, NodeOptions options = {.discard = DiscardMode::kUnmap}) {
    state_.emplace(kBytes, limits);
    node_.emplace("disk", std::make_unique<MemoryDriver>(*state_), options);
    node_->add_listener(recorder_);
    return *node_;
  }
  IoResult write(std::uint64_t offset, std::uint64_t length, WriteOptions options = {}, char fill = 'x') {
    std::vector<char> bytes(length, fill);
    iovec vector{bytes.data(), bytes.size()};
    return run(node_->write({offset, length}, {&vector, 1}, options));
  }
  IoResult try_write(std::uint64_t offset, std::uint64_t length, std::uint32_t requests = 1) {
    std::vector<char> bytes(length, 'x');
    iovec vector{bytes.data(), bytes.size()};
    return node_->try_write(reactor(), {offset, length}, {&vector, 1}, requests);
  }
  Events take_events() { return std::exchange(recorder_.events, {}); }

  Recorder recorder_;
  std::optional<MemoryDriverState> state_;
  std::optional<Node> node_;
};

TEST_F(NodeChangeTest, EveryPathThatChangesBytesCallsListenersBeforeAndAfter) {
  Node& node = make_node();
  EXPECT_TRUE(write(100, 50));
  EXPECT_EQ(take_events(), (Events{"before write 100+50", "changed write 100+50"}));
  EXPECT_TRUE(write(100, 50, {.force_unit_access = true}));
  EXPECT_EQ(take_events(), (Events{"before write 100+50", "changed write 100+50"}));
  EXPECT_TRUE(try_write(200, 10));
  EXPECT_EQ(take_events(), (Events{"try before write 200+10", "changed write 200+10"}));
  EXPECT_TRUE(try_write(200, 20, 2));
  EXPECT_EQ(take_events(), (Events{"try before write 200+20", "changed write 200+20"}));
  EXPECT_TRUE(run(node.write_zeroes({512, 512}, {})));
  EXPECT_EQ(take_events(), (Events{"before zeroes 512+512", "changed zeroes 512+512"}));
  EXPECT_TRUE(run(node.discard({1024, 512})));
  EXPECT_EQ(take_events(), (Events{"before discard 1024+512", "changed discard 1024+512"}));
  EXPECT_TRUE(run(node.resize(4096)));
  EXPECT_EQ(take_events(), (Events{"before resize 4096+4096", "resized 8192 to 4096", "changed resize 4096+4096"}));
  EXPECT_TRUE(run(node.resize(6144)));
  EXPECT_EQ(take_events(), (Events{"before resize 4096+2048", "resized 4096 to 6144", "changed resize 4096+2048"}));
}

TEST_F(NodeChangeTest, AListenerThatAgreedIsToldWhenALaterOneCancelsTheChange) {
  Node& node = make_node();
  Recorder second;
  Recorder third;
  node.add_listener(second);
  node.add_listener(third);
  second.error_at_once = EAGAIN;
  EXPECT_EQ(try_write(0, 10).error(), Errno(EAGAIN));
  EXPECT_EQ(take_events(), (Events{"try before write 0+10", "cancelled write 0+10"}));
  EXPECT_EQ(std::exchange(second.events, {}), (Events{"try before write 0+10"}));
  second.error = EIO;
  EXPECT_EQ(write(0, 10).error(), Errno(EIO));
  EXPECT_EQ(take_events(), (Events{"before write 0+10", "cancelled write 0+10"}));
  EXPECT_EQ(second.events, (Events{"before write 0+10"}));
  EXPECT_EQ(third.events, Events());
  EXPECT_EQ(state_->calls, Events());
  node.remove_listener(second);
  node.remove_listener(third);
}

TEST_F(NodeChangeTest, RequestsWithoutAChangeCallNoListener) {
  Node& node = make_node({}, {.discard = DiscardMode::kIgnore});
  EXPECT_TRUE(run(node.discard({0, 512})));
  EXPECT_TRUE(run(node.flush()));
  EXPECT_FALSE(write(kBytes, 1));
  EXPECT_TRUE(write(0, 0));
  EXPECT_EQ(try_write(kBytes - 1, 2).error(), Errno(EAGAIN));
  EXPECT_EQ(take_events(), Events());
}

TEST_F(NodeChangeTest, ADriverThatCannotDiscardIsNotAsked) {
  Node& node = make_node();
  state_->can_discard = false;
  EXPECT_TRUE(run(node.discard({0, 512})));
  EXPECT_FALSE(run(node.discard({kBytes, 1})));
  EXPECT_EQ(take_events(), Events());
  EXPECT_EQ(state_->calls, Events());
  EXPECT_EQ(node.statistics().discard.operations(), 1u);
}

TEST_F(NodeChangeTest, ReportsTheBlocksThatABounceBufferRewrites) {
  make_node({.request_alignment = 512});
  EXPECT_TRUE(write(600, 500));
  EXPECT_EQ(take_events(), (Events{"before write 512+1024", "changed write 512+1024"}));
  EXPECT_TRUE(run(node_->write_zeroes({1000, 100}, {})));
  EXPECT_EQ(take_events(), (Events{"before zeroes 512+1024", "changed zeroes 512+1024"}));
  EXPECT_TRUE(run(node_->discard({1000, 2000})));
  EXPECT_EQ(take_events(), (Events{"before discard 512+2560", "changed discard 512+2560"}));
}

TEST_F(NodeChangeTest, AWriteOfDetectedZeroesIsReportedAsTheWrite) {
  make_node({}, {.discard = DiscardMode::kUnmap, .detect_zeroes = DetectZeroes::kOn});
  EXPECT_TRUE(write(0, 512, {}, '\0'));
  EXPECT_EQ(take_events(), (Events{"before write 0+512", "changed write 0+512"}));
  EXPECT_EQ(state_->calls, (Events{"write_zeroes 0+512"}));
}

TEST_F(NodeChangeTest, AnErrorOfAListenerCancelsTheChange) {
  Node& node = make_node();
  recorder_.error = EIO;
  EXPECT_EQ(write(0, 512).error(), Errno(EIO));
  EXPECT_EQ(run(node.write_zeroes({0, 512}, {})).error(), Errno(EIO));
  EXPECT_EQ(run(node.discard({0, 512})).error(), Errno(EIO));
  EXPECT_FALSE(run(node.resize(512)));
  EXPECT_EQ(node.size_bytes(), kBytes);
  recorder_.error_at_once = EAGAIN;
  EXPECT_EQ(try_write(0, 512).error(), Errno(EAGAIN));
  EXPECT_EQ(state_->calls, Events());
  EXPECT_EQ(node.statistics().write.failed(), 1u);
  // No change happened that a flush would have to make durable.
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(state_->calls, Events());
}

TEST_F(NodeChangeTest, AChangeWaitsForItsListener) {
  Node& node = make_node();
  aio::Event pause(reactor());
  recorder_.pause = &pause;
  aio::Scope scope(reactor());
  scope.spawn("write", [](Node& disk) -> aio::Task<void> { (void)co_await disk.write_zeroes({0, 512}, {}); }(node));
  until_idle();
  EXPECT_EQ(state_->calls, Events());
  pause.set();
  run(scope.join());
  EXPECT_EQ(state_->calls, Events{"write_zeroes 0+512"});
}

TEST_F(NodeChangeTest, AFailedChangeIsReportedToo) {
  make_node();
  state_->error = EIO;
  EXPECT_EQ(write(0, 512).error(), Errno(EIO));
  EXPECT_EQ(take_events(), (Events{"before write 0+512", "changed write 0+512"}));
  // It may have written a part, and the client need not repeat it.
  state_->try_verbs = false;
  EXPECT_EQ(try_write(0, 512).error(), Errno(EAGAIN));
  EXPECT_EQ(take_events(), (Events{"try before write 0+512", "changed write 0+512"}));
}

TEST_F(NodeChangeTest, ARemovedListenerIsNotCalled) {
  Node& node = make_node();
  node.remove_listener(recorder_);
  EXPECT_TRUE(write(0, 512));
  EXPECT_EQ(take_events(), Events());
}

// --- growth ---

TEST_F(NodeChangeTest, WritesPastTheEndNeedTheOptionAndADriverThatGrows) {
  Node& node = make_node();
  EXPECT_EQ(write(kBytes - 1, 2, {.may_grow = true}).error(), Errno(ENOSPC));
  EXPECT_EQ(run(node.grow(kBytes + 1)).error(), Errno(ENOSPC));
  state_->grows = true;
  EXPECT_EQ(write(kBytes - 1, 2).error(), Errno(ENOSPC));
  EXPECT_EQ(run(node.write_zeroes({kBytes, 512}, {})).error(), Errno(ENOSPC));
  EXPECT_EQ(write(kNodeBytesMax, 1, {.may_grow = true}).error(), Errno(ENOSPC));
  EXPECT_EQ(node.size_bytes(), kBytes);
  EXPECT_EQ(take_events(), Events());
}

TEST_F(NodeChangeTest, AWriteOrZeroesPastTheEndMakeTheNodeLarger) {
  Node& node = make_node();
  state_->grows = true;
  EXPECT_TRUE(write(kBytes + 1000, 24, {.may_grow = true}));
  EXPECT_EQ(node.size_bytes(), kBytes + 1024);
  EXPECT_EQ(take_events(), (Events{"before write 9192+24", "resized 8192 to 9216", "changed write 9192+24"}));
  EXPECT_TRUE(run(node.write_zeroes({kBytes, 4096}, {.may_grow = true})));
  EXPECT_EQ(node.size_bytes(), kBytes + 4096);
  EXPECT_EQ(take_events(), (Events{"before zeroes 8192+4096", "resized 9216 to 12288", "changed zeroes 8192+4096"}));
  EXPECT_TRUE(run(node.grow(20'000)));
  EXPECT_EQ(node.size_bytes(), 20'000u);
  EXPECT_EQ(take_events(), (Events{"before resize 12288+7712", "resized 12288 to 20000", "changed resize 12288+7712"}));
  EXPECT_TRUE(run(node.grow(1000)));
  EXPECT_EQ(node.size_bytes(), 20'000u);
  EXPECT_EQ(take_events(), Events());
}

TEST_F(NodeChangeTest, AnUnalignedWritePastTheEndIsPaddedWithZeros) {
  Node& node = make_node({.request_alignment = 512});
  state_->grows = true;
  EXPECT_TRUE(write(kBytes + 600, 300, {.may_grow = true}));
  EXPECT_EQ(node.size_bytes(), kBytes + 1024);
  std::vector<std::byte> expected(1024);
  std::fill_n(expected.begin() + 600, 300, std::byte{'x'});
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), state_->bytes.begin() + kBytes));
  EXPECT_EQ(state_->calls, Events{"write 8704+512"});
}

// --- zeroes and discards in pieces ---

TEST_F(NodeChangeTest, SplitsZeroesAtTheirAlignmentAndMaximum) {
  Node& node = make_node({.zeroes_alignment = 1024, .zeroes_bytes_max = 2048});
  EXPECT_TRUE(run(node.write_zeroes({1000, 5000}, {.may_unmap = true})));
  // The driver refuses the ends, which become data.
  EXPECT_EQ(state_->calls,
            (Events{"write_zeroes 1024+2048 unmap", "write_zeroes 3072+2048 unmap", "write_zeroes 1000+24 unmap",
                    "write 1000+24", "write_zeroes 5120+880 unmap", "write 5120+880"}));
}

TEST_F(NodeChangeTest, ZeroesWithoutAFallbackChangeNothingWhenTheyAreRefused) {
  Node& node = make_node({.zeroes_alignment = 1024});
  EXPECT_EQ(run(node.write_zeroes({1000, 5000}, {.no_fallback = true})).error(), Errno(ENOTSUP));
  EXPECT_EQ(run(node.write_zeroes({1000, 10}, {.no_fallback = true})).error(), Errno(ENOTSUP));
  EXPECT_EQ(state_->calls, (Events{"write_zeroes 1024+4096", "write_zeroes 1000+10"}));
  state_->calls.clear();
  state_->fast_zeroes = true;
  EXPECT_TRUE(run(node.write_zeroes({1000, 5000}, {.no_fallback = true})));
  EXPECT_EQ(state_->calls, (Events{"write_zeroes 1024+4096", "write_zeroes 1000+24", "write 1000+24",
                                   "write_zeroes 5120+880", "write 5120+880"}));
}

TEST_F(NodeChangeTest, DiscardsWholeUnitsInPieces) {
  Node& node = make_node({.discard_alignment = 1024, .discard_bytes_max = 2048});
  EXPECT_TRUE(run(node.discard({1000, 5000})));
  EXPECT_EQ(state_->calls, (Events{"discard 1024+2048", "discard 3072+2048"}));
  EXPECT_EQ(take_events(), (Events{"before discard 1000+5000", "changed discard 1000+5000"}));
  EXPECT_TRUE(run(node.flush()));
  state_->calls.clear();
  EXPECT_TRUE(run(node.discard({1, 1000})));
  EXPECT_EQ(state_->calls, Events());
  // QEMU marks dirty bitmaps for it too.
  EXPECT_EQ(take_events(), (Events{"before discard 1+1000", "changed discard 1+1000"}));
  EXPECT_FALSE(node.owes_flush());
}

// --- flushes ---

TEST_F(NodeChangeTest, AFlushReachesADriverThatNeedsOne) {
  Node& node = make_node();
  EXPECT_TRUE(run(node.flush()));
  EXPECT_FALSE(node.owes_flush());
  state_->owes_flush = true;
  EXPECT_TRUE(node.owes_flush());
  EXPECT_TRUE(run(node.flush()));
  EXPECT_EQ(state_->calls, Events{"flush"});
}

}  // namespace
}  // namespace blockexport::block
