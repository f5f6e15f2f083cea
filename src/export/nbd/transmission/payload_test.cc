// Payload and ReceiveWindow: buffers for arriving bytes.
#include "export/nbd/transmission/payload.h"

#include <gtest/gtest.h>

#include <random>

#include "export/nbd/transmission/receive_window.h"

namespace blockexport::nbd {
namespace {

std::size_t vectors_bytes(const Payload& payload) {
  std::size_t sum = 0;
  for (const iovec& vector : payload.vectors()) sum += vector.iov_len;
  return sum;
}

TEST(Payload, ArrivesInPiecesThatAreAllocatedWhenNeeded) {
  aio::BufferPool pool;
  constexpr std::size_t kBytes = 2 * kPieceBytes + 100;
  Payload payload(kBytes);
  EXPECT_TRUE(payload.space().empty());
  std::size_t pieces = 0;
  while (!payload.complete()) {
    if (payload.needs_piece()) {
      EXPECT_EQ(payload.next_piece_bytes(), pieces < 2 ? kPieceBytes : 100u);
      // Memory for the whole rest is taken with the second piece.
      const std::size_t kDue[] = {kTaskBytes + memory_of_pieces(kPieceBytes), memory_of_pieces(kPieceBytes + 100), 0};
      EXPECT_EQ(payload.next_budget_bytes(), kDue[pieces]);
      payload.cover(payload.next_budget_bytes());
      payload.add_piece(pool.take(payload.next_piece_bytes()));
      ++pieces;
    }
    ASSERT_FALSE(payload.space().empty());
    std::size_t step = std::min<std::size_t>(1000, payload.space().size());
    std::memset(payload.space().data(), 'x', step);
    payload.received(step);
  }
  EXPECT_EQ(pieces, 3u);
  EXPECT_EQ(payload.budget_bytes(), kTaskBytes + memory_of_pieces(kBytes));
  EXPECT_EQ(vectors_bytes(payload), kBytes);
  EXPECT_FALSE(payload.needs_piece());
  EXPECT_TRUE(payload.space().empty());
}

TEST(RequestMemory, CountsBuffersInTheSizesOfThePool) {
  aio::BufferPool pool;
  constexpr std::size_t kPage = 4096;
  const std::size_t sizes[] = {1, kPage, kPage + 1, 100'000, kPieceBytes, 32u << 20};
  for (std::size_t bytes : sizes) {
    EXPECT_EQ(memory_of_write(bytes), kTaskBytes + pool.take(bytes).size() + kPage);
    EXPECT_EQ(memory_of_read(bytes), kTaskBytes + pool.take(kReplyDataStart + bytes).size() + kPage);
  }
  // A buffer has one page more than its power of two, besides the page for its alignment.
  EXPECT_EQ(memory_of_pieces(0), 0u);
  EXPECT_EQ(memory_of_pieces(3 * kPieceBytes), 3 * (kPieceBytes + 2 * kPage));
  EXPECT_EQ(memory_of_pieces(kPieceBytes + 1), kPieceBytes + 2 * kPage + 3 * kPage);
}

TEST(Payload, TheFirstPieceTakesHeldBytesAndBounceBuffersFromTheBudget) {
  const std::vector<std::byte> held(5000);
  Payload payload;
  payload.begin(kPieceBytes, held, 8192);
  EXPECT_EQ(payload.next_budget_bytes(),
            kTaskBytes + 8192 + aio::buffer_memory_bytes(5000) + memory_of_pieces(kPieceBytes - 5000));
}

TEST(Payload, AnnouncedBytesTakeNoMemory) {
  Payload payload(32u << 20);
  EXPECT_EQ(payload.budget_bytes(), 0u);
  EXPECT_EQ(payload.missing(), 32u << 20);
  EXPECT_TRUE(payload.needs_piece());
}

TEST(Payload, CanBeReusedAfterClear) {
  aio::BufferPool pool;
  Payload payload(10);
  payload.add_piece(pool.take(10));
  payload.received(4);
  payload.clear();
  EXPECT_FALSE(payload.active());
  payload.begin(20);
  EXPECT_TRUE(payload.active());
  EXPECT_EQ(payload.missing(), 20u);
  EXPECT_EQ(payload.budget_bytes(), 0u);
  EXPECT_TRUE(payload.needs_piece());
}

class ReceiveWindowTest : public ::testing::Test {
 protected:
  // Receives as much as there is space for, at most `count` bytes, with values that count up.
  std::size_t receive(std::size_t count) {
    std::span<std::byte> space = window_.space();
    count = std::min(count, space.size());
    for (std::size_t i = 0; i < count; ++i) space[i] = static_cast<std::byte>(received_++ % 251);
    window_.received(count);
    return count;
  }
  void consume(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(window_.bytes()[i], static_cast<std::byte>(consumed_++ % 251));
    }
    window_.consume(count);
  }

  aio::BufferPool pool_;
  ReceiveWindow window_{pool_};
  std::uint64_t received_ = 0;
  std::uint64_t consumed_ = 0;
};

TEST_F(ReceiveWindowTest, ReturnsBytesInOrder) {
  EXPECT_TRUE(window_.bytes().empty());
  for (std::size_t round = 1; round < 200; ++round) {
    receive(round * 997 % 70'000);
    consume(std::min(window_.bytes().size(), round * 787 % 60'000));
  }
  consume(window_.bytes().size());
  EXPECT_EQ(received_, consumed_);
}

TEST_F(ReceiveWindowTest, HalfOfItIsAlwaysFreeForARequestThatFillsTheOtherHalf) {
  receive(ReceiveWindow::kCapacityBytes - 10);
  consume(ReceiveWindow::kCapacityBytes / 2 + 10);
  EXPECT_GE(window_.space().size(), ReceiveWindow::kCapacityBytes / 2);
  consume(window_.bytes().size());
}

TEST_F(ReceiveWindowTest, IsFullAtItsCapacity) {
  EXPECT_EQ(receive(SIZE_MAX), ReceiveWindow::kCapacityBytes);
  EXPECT_TRUE(window_.space().empty());
}

TEST_F(ReceiveWindowTest, KeepsItsBytesWhenItIsReleasedTooEarly) {
  receive(100);
  window_.release_if_empty();
  consume(100);
  window_.release_if_empty();
  EXPECT_TRUE(window_.bytes().empty());
  receive(50);
  consume(50);
}

TEST_F(ReceiveWindowTest, BeginsWithTheBytesBehindTheHandshake) {
  std::vector<std::byte> early(4096, std::byte{7});
  window_.put(early);
  EXPECT_TRUE(std::ranges::equal(window_.bytes(), early));
}

TEST_F(ReceiveWindowTest, APartOfALongRequestStaysWhereItIs) {
  constexpr std::size_t kLength = 60'000;
  receive(ReceiveWindow::kCapacityBytes);
  consume(ReceiveWindow::kCapacityBytes - 40'000);
  const std::byte* part = window_.bytes().data();
  window_.expect(kLength);
  // There is space for the missing bytes and for more.
  EXPECT_EQ(receive(15'000), 15'000u);
  EXPECT_EQ(receive(20'000), 20'000u);
  EXPECT_EQ(window_.bytes().data(), part);
  EXPECT_EQ(window_.bytes().size(), 40'000u);
  EXPECT_EQ(window_.size(), 75'000u);
  const std::array<iovec, 2> pieces = window_.pieces(28, kLength - 28);
  EXPECT_EQ(pieces[0].iov_base, part + 28);
  EXPECT_EQ(pieces[0].iov_len, 40'000u - 28);
  EXPECT_EQ(pieces[1].iov_len, kLength - 40'000);
  consume(40'000);
  EXPECT_EQ(window_.bytes().size(), 35'000u);
  consume(20'000);
  consume(15'000);
  EXPECT_EQ(window_.size(), 0u);
}

TEST_F(ReceiveWindowTest, RequestsOfAnyLengthArriveCompleteAndInOrder) {
  std::minstd_rand random(7);
  std::size_t in_two = 0;
  for (int request = 0; request < 5000; ++request) {
    const std::size_t length = 1 + random() % (random() % 2 == 0 ? 300 : 65'536);
    while (window_.size() < length) {
      if (window_.size() >= 1) window_.expect(length);
      ASSERT_GT(receive(1 + random() % 100'000), 0u);
    }
    const std::array<iovec, 2> pieces = window_.pieces(0, length);
    in_two += pieces[1].iov_len > 0 ? 1 : 0;
    std::uint64_t at = consumed_;
    for (const iovec& piece : pieces) {
      const auto* bytes = static_cast<const std::byte*>(piece.iov_base);
      for (std::size_t i = 0; i < piece.iov_len; ++i) ASSERT_EQ(bytes[i], static_cast<std::byte>(at++ % 251));
    }
    ASSERT_EQ(at, consumed_ + length);
    // In one step or in two.
    const std::size_t step = random() % 2 == 0 ? length : random() % length;
    window_.consume(step);
    window_.consume(length - step);
    consumed_ += length;
  }
  EXPECT_GT(in_two, 100u);
  window_.consume(window_.size());
}

}  // namespace
}  // namespace blockexport::nbd
