// Hang-up watches: a query reports all hang-ups, whatever events of the sockets the loop has processed.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <vector>

#include "aio/operation/hang_up_watch.h"
#include "aio/reactor/reactor.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

struct CountingWatch final : HangUpWatch {
  void peer_hung_up() override { ++told; }
  int told = 0;
};

class HangUpTest : public testing::ForEachBackend {
 protected:
  struct Connection {
    int ours;
    int theirs;
    CountingWatch watch;
  };

  void SetUp() override {
    ForEachBackend::SetUp();
    if (!IsSkipped()) connect(2);
  }
  void TearDown() override {
    for (Connection& one : connections_) {
      reactor().forget_hang_up(one.ours);
      reactor().close_now(one.ours);
      close_theirs(one);
    }
  }

  void connect(std::size_t count) {
    connections_.resize(count);
    for (Connection& one : connections_) {
      std::tie(one.ours, one.theirs) = make_socket_pair();
      EXPECT_TRUE(reactor().watch_hang_up(one.ours, one.watch));
    }
  }
  void close_theirs(Connection& one) {
    if (one.theirs >= 0) reactor().close_now(std::exchange(one.theirs, -1));
  }
  void send(Connection& one) {
    char byte = 'x';
    iovec vector{&byte, 1};
    EXPECT_EQ(reactor().try_send(one.theirs, {&vector, 1}), IoCount(1));
  }

  std::vector<Connection> connections_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(HangUpTest);

TEST_P(HangUpTest, AConnectionThatIsOpenIsNotReported) {
  send(connections_[0]);
  reactor().report_hang_ups();
  EXPECT_EQ(connections_[0].watch.told, 0);
}

TEST_P(HangUpTest, APeerThatHasClosedIsReportedAtOnceWithItsBytesStillUnread) {
  send(connections_[0]);
  close_theirs(connections_[0]);
  reactor().report_hang_ups();
  EXPECT_EQ(connections_[0].watch.told, 1);
  EXPECT_EQ(connections_[1].watch.told, 0);
  std::byte byte;
  EXPECT_EQ(reactor().try_receive(connections_[0].ours, {&byte, 1}), IoCount(1));
}

TEST_P(HangUpTest, AHangUpBeforeTheWatchBeganIsReported) {
  reactor().forget_hang_up(connections_[0].ours);
  close_theirs(connections_[0]);
  EXPECT_TRUE(reactor().watch_hang_up(connections_[0].ours, connections_[0].watch));
  reactor().report_hang_ups();
  EXPECT_EQ(connections_[0].watch.told, 1);
}

TEST_P(HangUpTest, AWatchThatHasEndedIsToldNothing) {
  reactor().forget_hang_up(connections_[0].ours);
  close_theirs(connections_[0]);
  close_theirs(connections_[1]);
  reactor().report_hang_ups();
  EXPECT_EQ(connections_[0].watch.told, 0);
  EXPECT_EQ(connections_[1].watch.told, 1);
}

// More hang-ups than one epoll_wait(2) returns.
TEST_P(HangUpTest, AllOfManyAreReportedByOneCall) {
  TearDown();
  connect(200);
  for (Connection& one : connections_) close_theirs(one);
  reactor().report_hang_ups();
  for (Connection& one : connections_) EXPECT_EQ(one.watch.told, 1);
}

TEST_P(HangUpTest, APeerThatSendsNoMoreIsReportedThoughItStillReceives) {
  if (simulated()) GTEST_SKIP() << "simulated connections close in both directions";
  ASSERT_EQ(::shutdown(connections_[0].theirs, SHUT_WR), 0);
  reactor().report_hang_ups();
  EXPECT_EQ(connections_[0].watch.told, 1);
}

}  // namespace
}  // namespace blockexport::aio
