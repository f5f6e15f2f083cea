// Tests of TCP keep-alive, with real sockets.
#include "net/keep_alive.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"
#include "net/connect.h"
#include "net/listen.h"

namespace blockexport::net {
namespace {

using aio::Task;

constexpr KeepAlive kGiven{.enabled = true, .count = 3, .idle_seconds = 7, .interval_seconds = 5};

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  EXPECT_EQ(getsockopt(fd, level, name, &value, &length), 0);
  return value;
}

// The socket's keep-alive options: enabled, count, idle, interval.
std::array<int, 4> keep_alive_of(int fd) {
  return {option(fd, SOL_SOCKET, SO_KEEPALIVE), option(fd, IPPROTO_TCP, TCP_KEEPCNT),
          option(fd, IPPROTO_TCP, TCP_KEEPIDLE), option(fd, IPPROTO_TCP, TCP_KEEPINTVL)};
}

std::array<int, 4> system_defaults() {
  OwnedFd fd(socket(AF_INET, SOCK_STREAM, 0));
  return keep_alive_of(fd.get());
}

class KeepAliveTest : public aio::testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();

  static InetAddress address(const KeepAlive& keep_alive, std::string port = "0") {
    return {.host = "127.0.0.1", .port = std::move(port), .keep_alive = keep_alive};
  }

  // The keep-alive options of both ends of a connection: the accepted one, and the connecting one.
  Task<std::pair<std::array<int, 4>, std::array<int, 4>>> connected(KeepAlive listening, KeepAlive calling) {
    std::pair<std::array<int, 4>, std::array<int, 4>> found;
    auto listener = co_await Listener::open(reactor(), address(listening));
    EXPECT_TRUE(listener.has_value());
    std::string local = describe((*listener)->local_address(0));
    auto caller = co_await connect(reactor(), address(calling, local.substr(local.rfind(':') + 1)));
    auto accepted = co_await (*listener)->accept(0);
    EXPECT_TRUE(caller && accepted);
    found.first = keep_alive_of(accepted->fd.get());
    found.second = keep_alive_of(caller->get());
    co_return found;
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, KeepAliveTest, ::testing::Values("io_uring", "epoll"),
                         [](const auto& info) { return std::string(info.param); });

TASK_TEST_P(KeepAliveTest, AnAcceptedSocketHasWhatTheAddressSays) {
  auto [accepted, caller] = co_await connected(kGiven, {});
  EXPECT_EQ(accepted, (std::array{1, 3, 7, 5}));
  EXPECT_EQ(caller, system_defaults());
}

TASK_TEST_P(KeepAliveTest, AConnectingSocketHasWhatTheAddressSays) {
  auto [accepted, caller] = co_await connected({}, kGiven);
  EXPECT_EQ(accepted, system_defaults());
  EXPECT_EQ(caller, (std::array{1, 3, 7, 5}));
}

TASK_TEST_P(KeepAliveTest, NumbersThatAreNotGivenAreTheSystems) {
  auto [accepted, caller] = co_await connected({.enabled = true}, {.enabled = true, .idle_seconds = 9});
  std::array<int, 4> system = system_defaults();
  EXPECT_EQ(accepted, (std::array{1, system[1], system[2], system[3]}));
  EXPECT_EQ(caller, (std::array{1, system[1], 9, system[3]}));
}

TASK_TEST_P(KeepAliveTest, NumbersWithoutKeepAliveHaveNoEffect) {
  KeepAlive off = kGiven;
  off.enabled = false;
  auto [accepted, caller] = co_await connected(off, {.count = 1000, .idle_seconds = 1u << 31});
  EXPECT_EQ(accepted, system_defaults());
  EXPECT_EQ(caller, system_defaults());
}

TASK_TEST_P(KeepAliveTest, NumbersThatTheKernelDoesNotTakeAreErrorsOfBothSides) {
  const std::pair<KeepAlive, std::string> wrong[] = {
      {{.enabled = true, .count = kKeepAliveCountMax + 1}, "count"},
      {{.enabled = true, .idle_seconds = kKeepAliveSecondsMax + 1}, "idle"},
      {{.enabled = true, .interval_seconds = UINT32_MAX}, "interval"}};
  for (const auto& [keep_alive, name] : wrong) {
    std::string text = "Unable to set TCP keep-alive " + name + " option on socket: Invalid argument";
    auto listener = co_await Listener::open(reactor(), address(keep_alive));
    EXPECT_EQ(listener ? "" : listener.error().message(), text);
    auto caller = co_await connect(reactor(), address(keep_alive, "1"));
    EXPECT_EQ(caller ? "" : caller.error().message(), text);
  }
}

// The kernel accepts the largest numbers, and refuses the next ones.
TEST(KeepAlive, TheLargestNumbersAreTheKernels) {
  OwnedFd fd(socket(AF_INET, SOCK_STREAM, 0));
  const std::pair<int, std::uint32_t> limits[] = {
      {TCP_KEEPCNT, kKeepAliveCountMax}, {TCP_KEEPIDLE, kKeepAliveSecondsMax}, {TCP_KEEPINTVL, kKeepAliveSecondsMax}};
  for (const auto& [name, largest] : limits) {
    int value = static_cast<int>(largest);
    EXPECT_EQ(setsockopt(fd.get(), IPPROTO_TCP, name, &value, sizeof value), 0);
    ++value;
    EXPECT_EQ(setsockopt(fd.get(), IPPROTO_TCP, name, &value, sizeof value), -1);
  }
}

}  // namespace
}  // namespace blockexport::net
