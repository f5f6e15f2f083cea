#include "aio/epoll/watches.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

Task<void> poll_into(Reactor& reactor, int fd, std::uint32_t events, std::expected<std::uint32_t, Errno>& out) {
  out = co_await reactor.poll(fd, events);
}

class WatchesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ReactorOptions options;
    options.backend = BackendKind::kEpoll;
    auto made = Reactor::create(options, log_);
    ASSERT_TRUE(made.has_value());
    reactor = std::move(*made);
  }
  // Leaves a registration of `fd` behind: begins a poll and cancels it.
  void poll_and_cancel(int fd, bool keep) {
    if (keep) reactor->keep_watch(fd);
    Scope scope(*reactor);
    std::expected<std::uint32_t, Errno> ignored;
    scope.spawn("reader", poll_into(*reactor, fd, POLLIN, ignored));
    scope.cancel();
    testing::run(*reactor, scope.join());
  }
  // True if the loop can sleep, instead of waking up again and again. A few waits may end early, by a signal or by
  // pending work of an earlier ring.
  bool can_sleep() {
    constexpr std::uint64_t kSleepNs = 20'000'000;
    for (int attempt = 0; attempt < 20; ++attempt) {
      std::uint64_t before = reactor->now_ns();
      reactor->run_once(kSleepNs);
      if (reactor->now_ns() - before >= kSleepNs) return true;
    }
    return false;
  }

  Log log_{"test", 2, LogLevel::kError};
  std::unique_ptr<Reactor> reactor;
};

TEST_F(WatchesTest, ARegistrationThatNobodyWaitsForIsTakenBack) {
  for (bool keep : {false, true}) {
    OwnedFd event(eventfd(1, EFD_CLOEXEC));
    poll_and_cancel(event.get(), keep);
    EXPECT_TRUE(can_sleep());
    std::expected<std::uint32_t, Errno> in;
    testing::run(*reactor, poll_into(*reactor, event.get(), POLLIN, in));
    EXPECT_EQ(in, static_cast<std::uint32_t>(POLLIN));
    reactor->close_now(event.release());
  }
}

TEST_F(WatchesTest, AHangUpThatNobodyWaitsForLetsTheLoopSleep) {
  for (bool keep : {false, true}) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    poll_and_cancel(ends[0], keep);
    close(ends[1]);
    EXPECT_TRUE(can_sleep());
    reactor->close_now(ends[0]);
  }
}

// The first round is like a listening socket that the service manager keeps open too; the second breaks the promise of
// keep_watch().
TEST_F(WatchesTest, ADescriptorClosedElsewhereWhileItsFileLivesOnLetsTheLoopSleep) {
  for (bool keep : {false, true}) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    OwnedFd kept_open(dup(ends[0]));
    OwnedFd other(ends[1]);
    poll_and_cancel(ends[0], keep);
    close(ends[0]);
    ASSERT_EQ(write(other.get(), "x", 1), 1);
    EXPECT_TRUE(can_sleep());
  }
}

TEST_F(WatchesTest, ANumberClosedElsewhereAndUsedAgainIsPolledAnew) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  OwnedFd other(ends[1]);
  poll_and_cancel(ends[0], false);
  OwnedFd event(eventfd(1, EFD_CLOEXEC));
  ASSERT_EQ(dup3(event.get(), ends[0], O_CLOEXEC), ends[0]);
  OwnedFd same_number(ends[0]);
  std::expected<std::uint32_t, Errno> in;
  testing::run(*reactor, poll_into(*reactor, same_number.get(), POLLIN, in));
  EXPECT_EQ(in, static_cast<std::uint32_t>(POLLIN));
}

TEST_F(WatchesTest, AnEventOfAnEarlierFileOfTheSameNumberIsNotTakenForOurs) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  OwnedFd kept_open(dup(ends[0]));
  OwnedFd other(ends[1]);
  poll_and_cancel(ends[0], false);
  OwnedFd event(eventfd(0, EFD_CLOEXEC));
  ASSERT_EQ(dup3(event.get(), ends[0], O_CLOEXEC), ends[0]);
  OwnedFd same_number(ends[0]);
  ASSERT_EQ(write(other.get(), "x", 1), 1);
  Scope scope(*reactor);
  std::expected<std::uint32_t, Errno> in;
  scope.spawn("reader", poll_into(*reactor, same_number.get(), POLLIN, in));
  EXPECT_TRUE(can_sleep());
  EXPECT_EQ(scope.size(), 1u);
  scope.cancel();
  testing::run(*reactor, scope.join());
  EXPECT_FALSE(in.has_value());
}

TEST_F(WatchesTest, KeepingWhileSomebodyWaitsLosesNothing) {
  OwnedFd event(eventfd(0, EFD_CLOEXEC));
  for (int round = 0; round < 3; ++round) {
    Scope scope(*reactor);
    std::expected<std::uint32_t, Errno> in;
    scope.spawn("reader", poll_into(*reactor, event.get(), POLLIN, in));
    reactor->run_once(0);
    reactor->keep_watch(event.get());
    ASSERT_EQ(eventfd_write(event.get(), 1), 0);
    testing::run(*reactor, scope.join());
    EXPECT_EQ(in, static_cast<std::uint32_t>(POLLIN));
    eventfd_t ignored;
    ASSERT_EQ(eventfd_read(event.get(), &ignored), 0);
  }
  reactor->close_now(event.release());
}

}  // namespace
}  // namespace blockexport::aio
