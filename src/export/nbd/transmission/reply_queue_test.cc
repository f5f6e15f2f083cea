#include "export/nbd/transmission/reply_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "aio/reactor/reactor.h"
#include "aio/testing/backends.h"
#include "export/nbd/testing/scripted_stream.h"

namespace blockexport::nbd {
namespace {

using testing::ScriptedStream;
using testing::StreamScript;

class ReplyQueueTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kLimitBytes = 3 * ReplyQueue::kSharedBufferBytes;
  static constexpr std::size_t kSpareReplies = 64;  // replies for which an empty queue keeps memory, by docs/limits.md
  static constexpr std::string_view kContent = "content";

  void SetUp() override {
    simulation_.write_file("file", std::as_bytes(std::span(kContent)));
    aio::testing::run(*reactor_, open_file());
    ASSERT_NE(file_, nullptr);
  }
  aio::Task<void> open_file() {
    auto fd = co_await reactor_->open("file", O_RDONLY);
    if (fd) file_ = std::make_shared<aio::OpenFile>(*reactor_, *fd);
  }

  // Queues a small reply of `count` bytes of `fill`.
  void put(char fill, std::size_t count) {
    std::span<std::byte> space = queue_.reserve(count);
    ASSERT_EQ(space.size(), count);
    std::ranges::fill(space, static_cast<std::byte>(fill));
    queue_.commit(count);
  }
  // Queues a large reply, whose memory is taken from the budget.
  void push(char fill, std::size_t count) {
    ASSERT_TRUE(budget_.try_take(count));
    aio::Buffer buffer = pool_.take(count);
    std::fill_n(buffer.data(), count, static_cast<std::byte>(fill));
    queue_.push(std::move(buffer), 0, count, count);
  }
  // Offset in the node at which the file "content" begins.
  static constexpr std::uint64_t kNodeOffset = 1000;

  // Queues `head` and a part of the file "content".
  void push_file(std::string_view head, std::uint64_t offset, std::uint64_t length) {
    queue_.push_file(std::as_bytes(std::span(head)), {.file = file_, .offset = offset},
                     {.offset = kNodeOffset + offset, .length = length}, reactor_->now_ns());
  }
  aio::Buffer filled(char fill, std::size_t bytes) {
    aio::Buffer buffer = pool_.take(bytes);
    std::fill_n(buffer.data(), bytes, static_cast<std::byte>(fill));
    return buffer;
  }
  IoResult send() { return queue_.send(stream_, *reactor_); }
  std::string sent() const { return {reinterpret_cast<const char*>(script_.output.data()), script_.output.size()}; }

  aio::Simulation simulation_;
  std::unique_ptr<aio::Reactor> reactor_ = simulation_.make_reactor();
  std::shared_ptr<const aio::OpenFile> file_;
  aio::BufferPool pool_;
  aio::ProcessBudget process_;
  aio::MemoryBudget budget_{*reactor_, process_, kLimitBytes};
  StreamScript script_;
  ScriptedStream stream_{*reactor_, script_};
  ReplyQueue queue_{pool_, budget_};
};

TEST_F(ReplyQueueTest, SmallAndLargeRepliesLeaveInOrderWithOneSend) {
  put('a', 3);
  put('b', 2);
  push('c', 4);
  put('d', 1);
  EXPECT_TRUE(send());
  EXPECT_EQ(sent(), "aaabbccccd");
  EXPECT_EQ(script_.sends, 1u);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

TEST_F(ReplyQueueTest, AReservationThatIsNotCommittedIsDropped) {
  put('a', 3);
  ASSERT_EQ(queue_.reserve(100).size(), 100u);
  put('b', 2);
  ASSERT_EQ(queue_.reserve(100).size(), 100u);
  EXPECT_TRUE(send());
  EXPECT_EQ(sent(), "aaabb");
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

TEST_F(ReplyQueueTest, AReservationAloneIsNothingToSend) {
  ASSERT_EQ(queue_.reserve(100).size(), 100u);
  EXPECT_TRUE(send());
  EXPECT_EQ(script_.sends, 0u);
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

TEST_F(ReplyQueueTest, ASlowStreamAcceptsThemPieceByPiece) {
  script_.send_bytes_max = 1;
  put('a', 2);
  push('b', 2);
  put('c', 2);
  EXPECT_TRUE(send());
  EXPECT_EQ(sent(), "aabbcc");
  EXPECT_EQ(script_.sends, 6u);
}

TEST_F(ReplyQueueTest, AStreamThatAcceptsNothingKeepsThemQueued) {
  script_.reads = false;
  put('a', 2);
  EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  EXPECT_FALSE(queue_.empty());
  script_.reads = true;
  EXPECT_TRUE(send());
  EXPECT_EQ(sent(), "aa");
}

TEST_F(ReplyQueueTest, ATurnSendsAtMostItsLimit) {
  constexpr std::size_t kReplyBytes = ReplyQueue::kSentPerTurnMax / 4;
  script_.send_bytes_max = kReplyBytes;
  for (int i = 0; i < 6; ++i) queue_.push(pool_.take(kReplyBytes), 0, kReplyBytes, 0);
  EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  EXPECT_TRUE(queue_.turn_is_over());
  EXPECT_EQ(queue_.sent_bytes(), ReplyQueue::kSentPerTurnMax);
  // When the stream accepts no more, no turn is over.
  script_.reads = false;
  EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  EXPECT_FALSE(queue_.turn_is_over());
  script_.reads = true;
  EXPECT_TRUE(send());
  EXPECT_EQ(queue_.sent_bytes(), 6 * kReplyBytes);
}

TEST_F(ReplyQueueTest, MoreRepliesThanOneSendTakesVectors) {
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    char fill = static_cast<char>('a' + i % 26);
    push(fill, 3);
    expected.append(3, fill);
  }
  EXPECT_TRUE(send());
  EXPECT_EQ(sent(), expected);
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

TEST_F(ReplyQueueTest, FilesAndMemoryLeaveInOrder) {
  for (std::size_t at_a_time : {SIZE_MAX, std::size_t{1}, std::size_t{3}}) {
    script_ = {.send_bytes_max = at_a_time};
    put('a', 2);
    push_file("h1", 1, 4);
    put('b', 2);
    push_file("h2", 5, 1);
    push_file("h3", 0, 3);
    EXPECT_EQ(queue_.file_replies(), 3u);
    EXPECT_TRUE(send());
    EXPECT_EQ(sent(), "aah1ontebbh2nh3con") << at_a_time;
    EXPECT_EQ(queue_.file_replies(), 0u);
    EXPECT_EQ(budget_.used_bytes(), 0u);
    EXPECT_EQ(file_.use_count(), 1);
  }
}

TEST_F(ReplyQueueTest, AFileThatEndsTooSoonBreaksTheReply) {
  push_file("head", 4, 4);
  EXPECT_EQ(send(), IoResult(fail(ENODATA)));
  EXPECT_EQ(sent(), "headent");
  EXPECT_FALSE(queue_.empty());
  queue_.discard();
  EXPECT_EQ(queue_.file_replies(), 0u);
}

TEST_F(ReplyQueueTest, EvictedDataAreReadAndSentFromMemory) {
  script_.reads = false;
  push_file("head", 1, 5);
  EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  EXPECT_FALSE(queue_.cold_piece());
  script_.reads = true;
  // While reads fail, the simulation's page cache is empty; and the last check of the page cache is too old.
  simulation_.inject({.kind = aio::OperationKind::kRead, .error = EIO});
  reactor_->run_once(2'000'000);
  EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  EXPECT_EQ(sent(), "head");
  ASSERT_TRUE(queue_.cold_piece());
  EXPECT_EQ(queue_.cold_piece()->range, (block::Range{kNodeOffset + 1, 5}));
  EXPECT_TRUE(queue_.cold_piece()->was_shared);
  queue_.put_cold_piece(filled('!', 5));
  EXPECT_EQ(budget_.used_bytes(), ReplyQueue::kSharedBufferBytes);
  EXPECT_TRUE(send());
  EXPECT_EQ(sent(), "head!!!!!");
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

TEST_F(ReplyQueueTest, UnreadDataAreReadPieceByPiece) {
  constexpr std::uint64_t kRestBytes = 3;
  const std::string head = "head";
  queue_.push_unread(std::as_bytes(std::span(head)),
                     {.offset = kNodeOffset, .length = ReplyQueue::kSharedBufferBytes + kRestBytes});
  EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  ASSERT_TRUE(queue_.cold_piece());
  EXPECT_EQ(queue_.cold_piece()->range, (block::Range{kNodeOffset, ReplyQueue::kSharedBufferBytes}));
  EXPECT_FALSE(queue_.cold_piece()->was_shared);
  queue_.put_cold_piece(filled('a', ReplyQueue::kSharedBufferBytes));
  EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  ASSERT_TRUE(queue_.cold_piece());
  EXPECT_EQ(queue_.cold_piece()->range, (block::Range{kNodeOffset + ReplyQueue::kSharedBufferBytes, kRestBytes}));
  queue_.put_cold_piece(filled('b', kRestBytes));
  EXPECT_EQ(queue_.file_replies(), 1u);
  EXPECT_TRUE(send());
  EXPECT_EQ(sent(), "head" + std::string(ReplyQueue::kSharedBufferBytes, 'a') + "bbb");
  EXPECT_EQ(queue_.file_replies(), 0u);
}

TEST_F(ReplyQueueTest, ADiscardedQueueDropsAPieceThatWasBeingRead) {
  push_file("head", 0, 5);
  simulation_.inject({.kind = aio::OperationKind::kRead, .error = EIO});
  reactor_->run_once(2'000'000);
  EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  ASSERT_TRUE(queue_.cold_piece());
  queue_.discard();
  EXPECT_FALSE(queue_.cold_piece());
  queue_.put_cold_piece(pool_.take(5));
  push_file("head", 0, 5);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(budget_.used_bytes(), 0u);
  EXPECT_EQ(file_.use_count(), 1);
}

TEST_F(ReplyQueueTest, UnsentRepliesContinueInAnotherQueue) {
  script_.send_bytes_max = 1;
  script_.sends_max = 1;
  put('a', 3);
  push('b', 2);
  push_file("head", 1, 5);
  put('c', 1);
  push_file("more", 0, 2);
  EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  const std::vector<UnsentReply> unsent = queue_.take_unsent();
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(budget_.used_bytes(), 0u);
  ASSERT_EQ(unsent.size(), 2u);
  EXPECT_EQ(unsent[0].bytes.size(), 2u + 2 + 4);
  EXPECT_EQ(unsent[0].data, (block::Range{kNodeOffset + 1, 5}));
  EXPECT_EQ(unsent[1].data, (block::Range{kNodeOffset, 2}));
  ReplyQueue next(pool_, budget_);
  next.restore(unsent);
  EXPECT_EQ(next.file_replies(), 2u);
  script_.sends_max = SIZE_MAX;
  EXPECT_EQ(next.send(stream_, *reactor_), IoResult(fail(EAGAIN)));
  ASSERT_TRUE(next.cold_piece());
  EXPECT_EQ(next.cold_piece()->range, unsent[0].data);
  next.put_cold_piece(filled('1', 5));
  EXPECT_EQ(next.send(stream_, *reactor_), IoResult(fail(EAGAIN)));
  next.put_cold_piece(filled('2', 2));
  EXPECT_TRUE(next.send(stream_, *reactor_));
  EXPECT_EQ(sent(), "aaabbhead11111cmore22");
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

// The head of the first reply and a part of its data were sent already.
TEST_F(ReplyQueueTest, APartlySentFileReplyContinuesWhereItStopped) {
  script_.send_bytes_max = 3;
  script_.sends_max = 2;
  push_file("head", 1, 5);
  EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  const std::size_t data_sent = sent().size() - 4;
  const std::vector<UnsentReply> unsent = queue_.take_unsent();
  ASSERT_EQ(unsent.size(), 1u);
  EXPECT_TRUE(unsent[0].bytes.empty());
  EXPECT_EQ(unsent[0].data, (block::Range{kNodeOffset + 1 + data_sent, 5 - data_sent}));
}

TEST_F(ReplyQueueTest, AQueueThatIsNeverEmptyDoesNotGrow) {
  push('a', 2);
  script_.send_bytes_max = 2;
  for (int i = 0; i < 10'000; ++i) {
    push('a', 2);
    // One of the two replies waits for the next round.
    script_.sends_max = script_.sends + 1;
    EXPECT_EQ(send(), IoResult(fail(EAGAIN)));
  }
  EXPECT_LE(queue_.capacity(), 2 * kSpareReplies);
}

TEST_F(ReplyQueueTest, AnEmptyQueueKeepsMemoryForALimitedNumberOfReplies) {
  for (std::size_t count : {kSpareReplies, kSpareReplies + 1}) {
    for (std::size_t i = 0; i < count; ++i) push('a', 1);
    EXPECT_GE(queue_.capacity(), count);
    EXPECT_TRUE(send());
    EXPECT_EQ(queue_.capacity(), count == kSpareReplies ? kSpareReplies : 0);
  }
}

TEST_F(ReplyQueueTest, TheBudgetBoundsReservations) {
  for (int i = 0; i < 3; ++i) put('a', ReplyQueue::kSharedBufferBytes);
  // A buffer may be used up to its real size, which exceeds the requested one.
  while (!queue_.reserve(1000).empty()) put('b', 1000);
  EXPECT_LE(budget_.used_bytes(), kLimitBytes);
  EXPECT_EQ(queue_.reserve_over_budget(1000).size(), 1000u);
  queue_.commit(1000);
  EXPECT_EQ(budget_.used_bytes(), kLimitBytes + ReplyQueue::kSharedBufferBytes);
  EXPECT_TRUE(send());
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

TEST_F(ReplyQueueTest, AGrantedBufferIsUsedByTheNextReservation) {
  ASSERT_TRUE(budget_.try_take(kLimitBytes));
  EXPECT_TRUE(queue_.reserve(10).empty());
  queue_.grant_shared_buffer();
  EXPECT_EQ(queue_.reserve(10).size(), 10u);
  queue_.discard();
  budget_.give_back(kLimitBytes - ReplyQueue::kSharedBufferBytes);
}

TEST_F(ReplyQueueTest, ADiscardedQueueAcceptsNothing) {
  put('a', 2);
  push('b', 5000);
  queue_.discard();
  EXPECT_TRUE(queue_.empty());
  put('c', 2);
  push('d', 5000);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(budget_.used_bytes(), 0u);
  EXPECT_TRUE(send());
  EXPECT_EQ(sent(), "");
}

}  // namespace
}  // namespace blockexport::nbd
