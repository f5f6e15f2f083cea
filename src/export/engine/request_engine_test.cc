// RequestEngine without a wire format: requests are values, and a test records the replies.
#include "export/engine/request_engine.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "block/testing/memory_driver.h"
#include "block/testing/reactor_test.h"

namespace blockexport::exports {
namespace {

using block::IoBuffers;
using block::Range;
using Calls = std::vector<std::string>;

constexpr std::size_t kDiskBytes = 64u << 10;

struct Results {
  std::vector<IoResult> answers;
  std::size_t ended = 0;
  std::uint64_t extent_bytes = 0;
  std::size_t pieces_read = 0;
};

// Records the engine's calls, for every verb.
struct Reply {
  Results* results;
  iovec data = {};
  Range rest_range = {};
  block::Edge* bitmap_gate = nullptr;
  std::size_t bitmap_pieces = 0;

  std::span<const iovec> vectors() const { return {&data, 1}; }
  Range rest() const { return rest_range; }
  void add(const block::Extents& extents) {
    for (const block::Extent& extent : extents) {
      results->extent_bytes += extent.length;
      rest_range = {rest_range.offset + extent.length, rest_range.length - extent.length};
    }
  }
  block::Edge* next_gate() const { return bitmap_gate; }
  std::uint64_t read_bitmap() {
    EXPECT_GT(bitmap_pieces, 0u);
    ++results->pieces_read;
    if (--bitmap_pieces == 0) bitmap_gate = nullptr;
    return kBitmapWordsPerTurnMax;
  }
  void answer(const IoResult& result) { results->answers.push_back(result); }
  void ended() { ++results->ended; }
};

class RequestEngineTest : public block::ReactorTest {
 protected:
  ~RequestEngineTest() override {
    if (!is_over_) end(false);
  }

  static iovec all_of(std::vector<std::byte>& bytes) { return {bytes.data(), bytes.size()}; }
  // No request begins any more, and all have ended.
  void end(bool may_be_succeeded) {
    is_over_ = true;
    engine_->end_requests(may_be_succeeded);
    run(engine_->join());
    engine_->give_back_credit();
  }
  void use(EngineContext context) { engine_.emplace(context); }
  EngineContext context() { return {.reactor = reactor(), .process_budget = budget_, .edge = edge_, .fence = fence_}; }

  block::MemoryDriverState disk_{kDiskBytes};
  block::Node node_{"disk", std::make_unique<block::MemoryDriver>(disk_), {.discard = block::DiscardMode::kUnmap}};
  block::Edge edge_{node_, {.name = "root"}, {}};
  aio::ProcessBudget budget_;
  WriteFence fence_;
  std::optional<RequestEngine> engine_{context()};
  Results results_;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(512, std::byte{7});
  bool is_over_ = false;
};

TEST_F(RequestEngineTest, AnInlineVerbNeedsTheGateOfTheBatch) {
  EXPECT_FALSE(engine_->can_write_now(false));
  engine_->begin_batch();
  EXPECT_TRUE(engine_->is_inside());
  EXPECT_TRUE(engine_->can_write_now(false));
  EXPECT_FALSE(engine_->can_write_now(true));
  const iovec data = all_of(bytes_);
  EXPECT_TRUE(engine_->write_now({0, 512}, {&data, 1}));
  EXPECT_TRUE(engine_->read_now({0, 512}, data));
  engine_->end_batch();
  run(edge_.quiesce());
  engine_->begin_batch();
  EXPECT_FALSE(engine_->is_inside());
  EXPECT_FALSE(engine_->can_write_now(false));
  EXPECT_EQ(engine_->share_now({0, 512}).error(), Errno(EAGAIN));
  engine_->end_batch();
  edge_.resume();
}

TEST_F(RequestEngineTest, AWritethroughExportWritesNothingInline) {
  EngineContext through = context();
  through.writethrough = true;
  engine_->end_requests(false);
  use(through);
  engine_->begin_batch();
  EXPECT_FALSE(engine_->can_write_now(false));
  engine_->end_batch();
  engine_->start_write("write", {.verb = Verb::kWrite, .range = {0, 512}},
                       Reply{.results = &results_, .data = all_of(bytes_)});
  engine_->start_other("trim", {.verb = Verb::kDiscard, .range = {512, 512}}, Reply{.results = &results_});
  run(engine_->join());
  EXPECT_EQ(disk_.calls, (Calls{"write 0+512 fua", "discard 512+512", "flush"}));
}

TEST_F(RequestEngineTest, ATaskServesEachVerbAndReportsItsEnd) {
  engine_->start_read("read", {.verb = Verb::kRead, .range = {0, 512}}, all_of(bytes_), Reply{.results = &results_});
  engine_->start_write("write", {.verb = Verb::kWrite, .range = {512, 512}, .force_unit_access = true},
                       Reply{.results = &results_, .data = all_of(bytes_)});
  engine_->start_other("zeroes", {.verb = Verb::kWriteZeroes, .range = {1024, 512}, .may_unmap = true},
                       Reply{.results = &results_});
  engine_->start_other("trim", {.verb = Verb::kDiscard, .range = {1536, 512}}, Reply{.results = &results_});
  engine_->start_other("flush", {.verb = Verb::kFlush}, Reply{.results = &results_});
  engine_->start_other("prefetch", {.verb = Verb::kPrefetch, .range = {0, 512}}, Reply{.results = &results_});
  engine_->start_extents("extents", {.verb = Verb::kExtents, .range = {0, 4096}},
                         Reply{.results = &results_, .rest_range = {0, 4096}});
  run(engine_->join());
  EXPECT_EQ(disk_.calls,
            (Calls{"read 0+512", "write 512+512 fua", "write_zeroes 1024+512 unmap", "discard 1536+512", "flush"}));
  EXPECT_EQ(results_.answers, std::vector<IoResult>(7));
  EXPECT_EQ(results_.ended, 7u);
  EXPECT_EQ(results_.extent_bytes, 4096u);
  EXPECT_EQ(engine_->requests_in_flight(), 0u);
}

// Counts the turns of the event loop in which it is alone with a task that reads bitmaps.
aio::Task<void> count_turns(const Results& results, std::vector<std::size_t>& pieces_read_by_turn) {
  while (results.ended == 0) {
    pieces_read_by_turn.push_back(results.pieces_read);
    co_await aio::next_turn();
  }
}

TEST_F(RequestEngineTest, BitmapsAreReadInPiecesWithTurnsForOthersInBetween) {
  block::Edge gate(node_, {.name = "root"}, {});
  std::vector<std::size_t> pieces_read_by_turn;
  engine_->start_extents("bitmaps", {.verb = Verb::kExtents, .range = {0, 512}},
                         Reply{.results = &results_, .bitmap_gate = &gate, .bitmap_pieces = 5});
  run(count_turns(results_, pieces_read_by_turn));
  run(engine_->join());
  EXPECT_EQ(results_.pieces_read, 5u);
  EXPECT_EQ(results_.answers, std::vector<IoResult>(1));
  std::vector<std::size_t> seen = pieces_read_by_turn;
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  EXPECT_EQ(seen, (std::vector<std::size_t>{1, 2, 3, 4}));
}

// Closes the gates as a change of the graph does, that of the bitmap first, which would never end if a request waited
// at one of them inside the other.
aio::Task<void> close_both(block::Edge& first, block::Edge& second, bool& closed) {
  co_await first.quiesce();
  co_await second.quiesce();
  closed = true;
}

TEST_F(RequestEngineTest, ARequestWaitsForTheGateOfABitmapOutsideOfTheNodesGate) {
  block::Edge gate(node_, {.name = "root"}, {});
  run(gate.quiesce());
  engine_->start_extents(
      "bitmaps", {.verb = Verb::kExtents, .range = {0, 4096}},
      Reply{.results = &results_, .rest_range = {0, 4096}, .bitmap_gate = &gate, .bitmap_pieces = 1});
  for (int turn = 0; turn < 10; ++turn) reactor().run_once(0);
  EXPECT_EQ(results_.extent_bytes, 4096u);
  bool closed = false;
  run(close_both(gate, edge_, closed));
  EXPECT_TRUE(closed);
  EXPECT_EQ(results_.pieces_read, 0u);
  edge_.resume();
  gate.resume();
  gate.resume();
  run(engine_->join());
  EXPECT_EQ(results_.pieces_read, 1u);
  EXPECT_EQ(results_.answers, std::vector<IoResult>(1));
}

TEST_F(RequestEngineTest, ABitmapIsNotReadWhenTheNodeFails) {
  block::Edge gate(node_, {.name = "root"}, {});
  engine_->start_extents(
      "extents", {.verb = Verb::kExtents, .range = {0, kDiskBytes + 1}},
      Reply{.results = &results_, .rest_range = {0, kDiskBytes + 1}, .bitmap_gate = &gate, .bitmap_pieces = 1});
  run(engine_->join());
  EXPECT_EQ(results_.pieces_read, 0u);
  EXPECT_EQ(results_.answers, (std::vector<IoResult>{fail(EINVAL)}));
}

TEST_F(RequestEngineTest, AnErrorIsPassedToTheReply) {
  disk_.error = EIO;
  engine_->start_read("read", {.verb = Verb::kRead, .range = {0, 512}}, all_of(bytes_), Reply{.results = &results_});
  engine_->start_extents("extents", {.verb = Verb::kExtents, .range = {0, kDiskBytes + 1}},
                         Reply{.results = &results_, .rest_range = {0, kDiskBytes + 1}});
  engine_->start_other("zeroes", {.verb = Verb::kWriteZeroes, .range = {0, 512}, .no_fallback = true},
                       Reply{.results = &results_});
  run(engine_->join());
  EXPECT_EQ(results_.answers, (std::vector<IoResult>{fail(EIO), fail(EINVAL), fail(EIO)}));
}

TEST_F(RequestEngineTest, ARequestThatStartsWhileTheGateIsClosedWaitsForIt) {
  run(edge_.quiesce());
  engine_->start_read("read", {.verb = Verb::kRead, .range = {0, 512}}, all_of(bytes_), Reply{.results = &results_});
  for (int turn = 0; turn < 10; ++turn) reactor().run_once(0);
  EXPECT_TRUE(disk_.calls.empty());
  EXPECT_EQ(engine_->requests_in_flight(), 1u);
  edge_.resume();
  run(engine_->join());
  EXPECT_EQ(disk_.calls, (Calls{"read 0+512"}));
}

TEST_F(RequestEngineTest, AdmissionWaitsForTheFenceOfOthersAndForASlot) {
  EXPECT_EQ(engine_->admission(0), ReaderWait::kNone);
  EXPECT_EQ(engine_->admission(kRequestsInFlightMax - 1), ReaderWait::kNone);
  EXPECT_EQ(engine_->admission(kRequestsInFlightMax), ReaderWait::kSlot);
  fence_.raise();
  EXPECT_EQ(engine_->admission(kRequestsInFlightMax), ReaderWait::kFence);
  fence_.lower();
  EXPECT_FALSE(engine_->is_refusing());
  engine_->refuse();
  EXPECT_TRUE(engine_->is_refusing());
}

TEST_F(RequestEngineTest, ATurnIsOverWhenEnoughWasServedInline) {
  engine_->served(kInlineBytesPerTurnMax - 1);
  EXPECT_FALSE(engine_->is_turn_over());
  engine_->begin_batch();
  EXPECT_TRUE(engine_->read_now({0, 512}, all_of(bytes_)));
  engine_->end_batch();
  EXPECT_TRUE(engine_->is_turn_over());
  engine_->begin_turn();
  EXPECT_FALSE(engine_->is_turn_over());
}

TEST_F(RequestEngineTest, ARequestWaitsForMemoryThatOthersHoldAndThenItIsScarce) {
  ASSERT_TRUE(budget_.try_take(aio::ProcessBudget::kBytesDefault));
  constexpr std::size_t kMuch = aio::MemoryBudget::kConnectionAllowanceBytes + 1;
  EXPECT_FALSE(engine_->take_memory(kMuch));
  EXPECT_TRUE(run(engine_->wait_for_memory()));
  EXPECT_TRUE(engine_->is_memory_scarce());
  EXPECT_FALSE(engine_->take_memory(kMuch));
  engine_->request_taken();
  EXPECT_FALSE(engine_->is_memory_scarce());
  budget_.give_back(aio::ProcessBudget::kBytesDefault);
  // The request owns the memory that it waited for, and returns the part that it does not need.
  EXPECT_TRUE(run(engine_->wait_for_memory()));
  EXPECT_EQ(engine_->budget().used_bytes(), kMuch);
  EXPECT_TRUE(engine_->take_memory(1000));
  EXPECT_EQ(engine_->budget().used_bytes(), 1000u);
  engine_->budget().give_back(1000);
}

TEST_F(RequestEngineTest, WritesOfALostClientKeepTheFenceUp) {
  aio::Event gate(reactor());
  disk_.read_pause = &gate;
  engine_->start_read("read", {.verb = Verb::kRead, .range = {0, 512}}, all_of(bytes_), Reply{.results = &results_});
  engine_->client_hung_up();
  EXPECT_TRUE(fence_.is_up());
  EXPECT_FALSE(engine_->is_fenced()) << "its own requests may still begin";
  engine_->end_requests(true);
  EXPECT_FALSE(fence_.is_up()) << "a read cannot overwrite data";
  gate.set();
  run(engine_->join());
  is_over_ = true;
}

TEST_F(RequestEngineTest, AWriteThatBeganKeepsTheFenceUpToItsEnd) {
  run(edge_.quiesce());
  engine_->start_write("write", {.verb = Verb::kWrite, .range = {0, 512}},
                       Reply{.results = &results_, .data = all_of(bytes_)});
  engine_->end_requests(true);
  EXPECT_TRUE(fence_.is_up());
  edge_.resume();
  run(engine_->join());
  EXPECT_FALSE(fence_.is_up());
  is_over_ = true;
}

TEST_F(RequestEngineTest, AClientWithoutASuccessorRaisesNoFence) {
  run(edge_.quiesce());
  engine_->start_write("write", {.verb = Verb::kWrite, .range = {0, 512}},
                       Reply{.results = &results_, .data = all_of(bytes_)});
  engine_->end_requests(false);
  EXPECT_FALSE(fence_.is_up());
  edge_.resume();
  run(engine_->join());
  is_over_ = true;
}

TEST_F(RequestEngineTest, AColdPieceIsReadInsideTheGate) {
  disk_.shares = true;
  engine_->begin_batch();
  EXPECT_TRUE(engine_->share_now({0, 4096}));
  engine_->end_batch();
  EXPECT_TRUE(run(engine_->read_part({0, 512}, all_of(bytes_), true)));
  EXPECT_EQ(node_.statistics().read.operations(), 1u);
  EXPECT_TRUE(run(engine_->read_part({0, 512}, all_of(bytes_), false)));
  EXPECT_EQ(node_.statistics().read.operations(), 2u);
}

}  // namespace
}  // namespace blockexport::exports
