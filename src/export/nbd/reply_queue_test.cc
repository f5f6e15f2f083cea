#include "export/nbd/reply_queue.h"

#include <gtest/gtest.h>

#include "aio/reactor.h"
#include "aio/testing/backends.h"
#include "export/nbd/testing/scripted_stream.h"

namespace blockexport::nbd {
namespace {

using testing::ScriptedStream;
using testing::StreamScript;

class ReplyQueueTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kLimitBytes = 3 * ReplyQueue::kSharedBufferBytes;

  // Queues a small reply of `count` times `fill`.
  void put(char fill, std::size_t count) {
    std::span<std::byte> room = queue_.reserve(count);
    ASSERT_EQ(room.size(), count);
    std::ranges::fill(room, static_cast<std::byte>(fill));
    queue_.commit(count);
  }
  // Queues a large one, whose budget is taken.
  void push(char fill, std::size_t count) {
    ASSERT_TRUE(budget_.try_take(count));
    aio::Buffer buffer = pool_.take(count);
    std::fill_n(buffer.data(), count, static_cast<std::byte>(fill));
    queue_.push(std::move(buffer), 0, count, count);
  }
  std::string sent() const { return {reinterpret_cast<const char*>(script_.output.data()), script_.output.size()}; }

  aio::Simulation simulation_;
  std::unique_ptr<aio::Reactor> reactor_ = aio::Reactor::create(simulation_);
  aio::BufferPool pool_;
  aio::MemoryBudget process_{*reactor_, 1u << 30};
  aio::MemoryBudget budget_{process_, kLimitBytes};
  StreamScript script_;
  ScriptedStream stream_{*reactor_, script_};
  ReplyQueue queue_{pool_, budget_};
};

TEST_F(ReplyQueueTest, SmallAndLargeRepliesLeaveInOrderWithOneSend) {
  put('a', 3);
  put('b', 2);
  push('c', 4);
  put('d', 1);
  EXPECT_TRUE(queue_.send(stream_));
  EXPECT_EQ(sent(), "aaabbccccd");
  EXPECT_EQ(script_.sends, 1u);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

TEST_F(ReplyQueueTest, WhatWasReservedAndNotCommittedIsForgotten) {
  put('a', 3);
  ASSERT_EQ(queue_.reserve(100).size(), 100u);
  put('b', 2);
  ASSERT_EQ(queue_.reserve(100).size(), 100u);
  EXPECT_TRUE(queue_.send(stream_));
  EXPECT_EQ(sent(), "aaabb");
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

TEST_F(ReplyQueueTest, AReservationAloneIsNothingToSend) {
  ASSERT_EQ(queue_.reserve(100).size(), 100u);
  EXPECT_TRUE(queue_.send(stream_));
  EXPECT_EQ(script_.sends, 0u);
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

TEST_F(ReplyQueueTest, ASlowStreamTakesThemPieceByPiece) {
  script_.send_bytes_max = 1;
  put('a', 2);
  push('b', 2);
  put('c', 2);
  EXPECT_TRUE(queue_.send(stream_));
  EXPECT_EQ(sent(), "aabbcc");
  EXPECT_EQ(script_.sends, 6u);
}

TEST_F(ReplyQueueTest, AStreamThatTakesNothingKeepsThemWaiting) {
  script_.reads = false;
  put('a', 2);
  EXPECT_EQ(queue_.send(stream_), IoResult(fail(EAGAIN)));
  EXPECT_FALSE(queue_.empty());
  script_.reads = true;
  EXPECT_TRUE(queue_.send(stream_));
  EXPECT_EQ(sent(), "aa");
}

TEST_F(ReplyQueueTest, MoreRepliesThanOneSendTakesVectors) {
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    char fill = static_cast<char>('a' + i % 26);
    push(fill, 3);
    expected.append(3, fill);
  }
  EXPECT_TRUE(queue_.send(stream_));
  EXPECT_EQ(sent(), expected);
  EXPECT_EQ(budget_.used_bytes(), 0u);
}

TEST_F(ReplyQueueTest, TheBudgetBoundsReservations) {
  for (int i = 0; i < 3; ++i) put('a', ReplyQueue::kSharedBufferBytes);
  // What a buffer has more than was asked for may still be used.
  while (!queue_.reserve(1000).empty()) put('b', 1000);
  EXPECT_LE(budget_.used_bytes(), kLimitBytes);
  EXPECT_EQ(queue_.reserve_over_budget(1000).size(), 1000u);
  queue_.commit(1000);
  EXPECT_EQ(budget_.used_bytes(), kLimitBytes + ReplyQueue::kSharedBufferBytes);
  EXPECT_TRUE(queue_.send(stream_));
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

TEST_F(ReplyQueueTest, ADiscardedQueueTakesNothingMore) {
  put('a', 2);
  push('b', 5000);
  queue_.discard();
  EXPECT_TRUE(queue_.empty());
  put('c', 2);
  push('d', 5000);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(budget_.used_bytes(), 0u);
  EXPECT_TRUE(queue_.send(stream_));
  EXPECT_EQ(sent(), "");
}

}  // namespace
}  // namespace blockexport::nbd
