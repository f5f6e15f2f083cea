// Polls of half-closed connections: only a requested event, an error or a hang-up may complete a poll.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <optional>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

constexpr int kTurns = 20;
constexpr std::uint64_t kTurnNs = 1'000'000;
constexpr std::uint32_t kUnset = UINT32_MAX;

Task<void> poll_and_note(Reactor& reactor, int fd, std::uint32_t events, std::uint32_t& seen) {
  std::expected<std::uint32_t, Errno> polled = co_await reactor.poll(fd, events);
  seen = polled ? *polled : 0;
}

class HalfClosedTest : public testing::ForEachBackend {
 protected:
  void SetUp() override {
    ForEachBackend::SetUp();
    if (IsSkipped()) return;
    if (simulated()) GTEST_SKIP() << "simulated connections close in both directions";
    std::tie(ours_, theirs_) = make_socket_pair();
    scope_.emplace(reactor());
  }
  void TearDown() override {
    if (ours_ >= 0) reactor().close_now(ours_);
    if (theirs_ >= 0) reactor().close_now(theirs_);
  }

  void fill() {
    std::array<std::byte, 65536> data{};
    iovec vector{data.data(), data.size()};
    while (reactor().try_send(ours_, std::span(&vector, 1))) {
    }
  }
  void empty() {
    std::array<std::byte, 65536> data{};
    while (reactor().try_receive(theirs_, data)) {
    }
  }
  void turns() {
    for (int i = 0; i < kTurns; ++i) reactor().run_once(kTurnNs);
  }

  // Fills our socket and starts a sender that polls for POLLOUT; seen_ receives the result of the poll.
  void begin_to_wait() {
    fill();
    scope_->spawn("sender", poll_and_note(reactor(), ours_, POLLOUT, seen_));
    turns();
    EXPECT_EQ(seen_, kUnset);
  }
  void begin_to_wait_half_closed() {
    ASSERT_EQ(::shutdown(theirs_, SHUT_WR), 0);
    begin_to_wait();
  }
  void end_wait() { run(scope_->join()); }

  std::optional<Scope> scope_;
  std::uint32_t seen_ = kUnset;
  int ours_ = -1;
  int theirs_ = -1;
};
BLOCKEXPORT_FOR_EACH_BACKEND(HalfClosedTest);

TEST_P(HalfClosedTest, ASenderWaitsForRoomNotForThePeersHalfClose) {
  begin_to_wait_half_closed();
  empty();
  end_wait();
  EXPECT_EQ(seen_ & POLLOUT, static_cast<std::uint32_t>(POLLOUT));
}

TEST_P(HalfClosedTest, AHalfCloseWhileASenderWaitsDoesNotEndItsPoll) {
  begin_to_wait();
  ASSERT_EQ(::shutdown(theirs_, SHUT_WR), 0);
  turns();
  EXPECT_EQ(seen_, kUnset);
  empty();
  end_wait();
  EXPECT_EQ(seen_ & POLLOUT, static_cast<std::uint32_t>(POLLOUT));
}

TEST_P(HalfClosedTest, ASenderThatWaitsOnAHalfClosedConnectionIsCancelled) {
  begin_to_wait_half_closed();
  scope_->cancel();
  scope_->cancel();
  end_wait();
  EXPECT_EQ(seen_, 0u);
}

// A poll that becomes ready and is cancelled in the same turn completes once, and leaves nothing behind.
TEST_P(HalfClosedTest, RoomAndCancellationTogetherEndAPollOnce) {
  begin_to_wait_half_closed();
  empty();
  scope_->cancel();
  end_wait();
  EXPECT_NE(seen_, kUnset);
  turns();
}

TEST_P(HalfClosedTest, TheHangUpOfThePeerEndsASendersPoll) {
  begin_to_wait_half_closed();
  reactor().close_now(std::exchange(theirs_, -1));
  end_wait();
  EXPECT_NE(seen_ & (POLLOUT | POLLHUP | POLLERR), 0u);
}

// A poll without events waits for the hang-up only, even while another poll of the same socket sees data.
TEST_P(HalfClosedTest, APollForNothingSeesTheHangUp) {
  std::uint32_t hang_up = kUnset;
  std::uint32_t readable = kUnset;
  scope_->spawn("watcher", poll_and_note(reactor(), ours_, 0, hang_up));
  scope_->spawn("reader", poll_and_note(reactor(), ours_, POLLIN, readable));
  std::byte one{};
  iovec vector{&one, 1};
  ASSERT_TRUE(reactor().try_send(theirs_, std::span(&vector, 1)));
  turns();
  EXPECT_NE(readable, kUnset);
  EXPECT_EQ(hang_up, kUnset);
  reactor().close_now(std::exchange(theirs_, -1));
  end_wait();
  EXPECT_NE(hang_up & POLLHUP, 0u);
}

}  // namespace
}  // namespace blockexport::aio
