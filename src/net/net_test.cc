// Tests of addresses, listeners, connections and streams, with real sockets.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"
#include "net/connect.h"
#include "net/listen.h"
#include "net/socket_stream.h"

namespace blockexport::net {
namespace {

using aio::Task;

TEST(Address, IsDescribedInOneWord) {
  EXPECT_EQ(describe(SocketAddress(InetAddress{.host = "10.0.0.1", .port = "10809"})), "10.0.0.1:10809");
  EXPECT_EQ(describe(SocketAddress(InetAddress{.host = "::1", .port = "1"})), "[::1]:1");
  EXPECT_EQ(describe(SocketAddress(UnixAddress{.path = "/run/x"})), "unix:/run/x");
  EXPECT_EQ(describe(SocketAddress(UnixAddress{.path = "x", .abstract = true})), "unix:@x");
  EXPECT_EQ(describe(SocketAddress(VsockAddress{.cid = "2", .port = "1234"})), "vsock:2:1234");
  EXPECT_EQ(describe(SocketAddress(FdAddress{.descriptor = "5"})), "fd:5");
}

TEST(Address, UnixPathsFillTheAddressButNotMore) {
  EXPECT_TRUE(unix_address({.path = std::string(108, 'x')}).has_value());
  EXPECT_TRUE(unix_address({.path = std::string(107, 'x'), .abstract = true}).has_value());
  for (bool abstract : {false, true}) {
    auto too_long = unix_address({.path = std::string(abstract ? 108 : 109, 'x'), .abstract = abstract});
    ASSERT_FALSE(too_long);
    EXPECT_EQ(too_long.error().message().substr(0, 18), "UNIX socket path '");
    EXPECT_EQ(too_long.error().hint(), "Path must be less than 108 bytes");
  }
  EXPECT_EQ(describe(*unix_address({.path = std::string(108, 'x')})), "unix:" + std::string(108, 'x'));
  EXPECT_EQ(describe(*unix_address({.path = "abc", .abstract = true})), "unix:@abc");
}

TEST(Address, VsockNumbersAreChecked) {
  EXPECT_EQ(describe(*vsock_address({.cid = "3", .port = "99"})), "vsock:3:99");
  EXPECT_EQ(vsock_address({.cid = "x", .port = "99"}).error().message(), "Failed to parse cid 'x'");
  EXPECT_EQ(vsock_address({.cid = "3", .port = ""}).error().message(), "Failed to parse port ''");
}

int send_buffer_bytes(const OwnedFd& socket) {
  int bytes = 0;
  socklen_t length = sizeof bytes;
  EXPECT_EQ(getsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &bytes, &length), 0);
  return bytes;
}

// The size that the kernel reports of a buffer of `bytes`: twice the allowed size.
int reported(int bytes) {
  int allowed_bytes = bytes;
  std::ifstream("/proc/sys/net/core/wmem_max") >> allowed_bytes;
  return 2 * std::min(bytes, allowed_bytes);
}

TEST(SendBuffer, AUnixConnectionGetsTheSizeThatIsNamed) {
  const OwnedFd local(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  tune_connection(local.get(), AF_UNIX);
  EXPECT_EQ(send_buffer_bytes(local), reported(1 << 20));
  tune_for_files(local.get());
  EXPECT_EQ(send_buffer_bytes(local), reported(4 << 20));
}

TEST(SendBuffer, OfATcpConnectionIsTheSystems) {
  const OwnedFd inet(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int before_bytes = send_buffer_bytes(inet);
  tune_connection(inet.get(), AF_INET);
  tune_for_files(inet.get());
  EXPECT_EQ(send_buffer_bytes(inet), before_bytes);
}

class SocketTest : public aio::testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();

  std::string path(const std::string& name = "socket") const { return directory_.path() + "/" + name; }
  Task<std::unique_ptr<Listener>> listen(SocketAddress address) {
    auto listener = co_await Listener::open(reactor(), std::move(address));
    EXPECT_TRUE(listener.has_value()) << (listener ? "" : listener.error().message());
    co_return listener ? std::move(*listener) : nullptr;
  }
  Task<std::string> listen_error(SocketAddress address) {
    auto listener = co_await Listener::open(reactor(), std::move(address));
    co_return listener ? "" : listener.error().message();
  }
  std::unique_ptr<Stream> stream(OwnedFd fd) { return std::make_unique<SocketStream>(reactor(), fd.release()); }
  // Sends a word from one end to the other.
  Task<void> check_connected(OwnedFd from, OwnedFd to) {
    auto sender = stream(std::move(from));
    auto receiver = stream(std::move(to));
    EXPECT_TRUE(co_await send_all(*sender, std::as_bytes(std::span("hello", 5))));
    std::array<std::byte, 16> buffer;
    EXPECT_EQ(co_await receive_some(*receiver, buffer), IoCount(5u));
    sender->shut_down();
    EXPECT_EQ(co_await receive_some(*receiver, buffer), IoCount(0u));
  }

  aio::testing::TemporaryDirectory directory_;
};
INSTANTIATE_TEST_SUITE_P(Backends, SocketTest, ::testing::Values("io_uring", "epoll"),
                         [](const auto& info) { return std::string(info.param); });

TASK_TEST_P(SocketTest, AUnixSocketIsAcceptedFromAndItsPathRemoved) {
  auto listener = co_await listen(UnixAddress{.path = path()});
  auto fd = co_await connect(reactor(), UnixAddress{.path = path()});
  EXPECT_TRUE(fd.has_value());
  auto accepted = co_await listener->accept(0);
  EXPECT_TRUE(accepted.has_value());
  EXPECT_EQ(accepted->peer_uid, getuid());
  EXPECT_EQ(describe(accepted->peer), "unix:");
  co_await check_connected(std::move(*fd), std::move(accepted->fd));
  listener.reset();
  EXPECT_EQ(access(path().c_str(), F_OK), -1);
}

TASK_TEST_P(SocketTest, AFileAtThePathIsNotRemoved) {
  std::ofstream(path()) << "precious";
  EXPECT_EQ(co_await listen_error(UnixAddress{.path = path()}),
            "Failed to unlink socket " + path() + ": it is not a socket");
  std::string content;
  std::ifstream(path()) >> content;
  EXPECT_EQ(content, "precious");
}

TASK_TEST_P(SocketTest, ANewerListenerKeepsThePathWhenTheOlderCloses) {
  auto older = co_await listen(UnixAddress{.path = path()});
  auto newer = co_await listen(UnixAddress{.path = path()});
  newer->settle();
  older->close();
  auto fd = co_await connect(reactor(), UnixAddress{.path = path()});
  EXPECT_TRUE(fd.has_value());
  EXPECT_TRUE(co_await newer->accept(0));
}

TASK_TEST_P(SocketTest, AnOlderListenerHasItsPathBackWhenTheNewerNeverServed) {
  auto older = co_await listen(UnixAddress{.path = path()});
  auto newer = co_await listen(UnixAddress{.path = path()});
  newer.reset();
  auto fd = co_await connect(reactor(), UnixAddress{.path = path()});
  EXPECT_TRUE(fd.has_value());
  EXPECT_TRUE(co_await older->accept(0));
}

TASK_TEST_P(SocketTest, APathMayBeKept) {
  auto listener = co_await listen(UnixAddress{.path = path()});
  listener->keep_path();
  listener.reset();
  EXPECT_EQ(access(path().c_str(), F_OK), 0);
}

TASK_TEST_P(SocketTest, ALongPathIsCalledThroughItsDirectory) {
  auto listener = co_await listen(UnixAddress{.path = path()});
  std::string detour = directory_.path();
  while (detour.size() < 200) detour += "/.";
  auto fd = co_await connect(reactor(), UnixAddress{.path = detour + "/socket"});
  EXPECT_TRUE(fd.has_value());
  auto missing = co_await connect(reactor(), UnixAddress{.path = detour + "/no/socket"});
  EXPECT_EQ(missing.error().message(), "Failed to connect to '" + detour + "/no/socket': No such file or directory");
}

// A ring releases a polled file only when the kernel destroys the ring.
TASK_TEST_P(SocketTest, AWaitDoesNotHoldTheListeningSocket) {
  auto listener = co_await listen(InetAddress{.host = "127.0.0.1", .port = "0"});
  std::string local = describe(listener->local_address(0));
  aio::Scope scope(reactor());
  scope.spawn("accept", [](Listener& from) -> Task<void> { (void)co_await from.accept(0); }(*listener));
  (void)co_await reactor().sleep_until(reactor().now_ns() + 10'000'000);
  // The kernel still has the poll.
  listener->close();
  auto again = co_await listen(InetAddress{.host = "127.0.0.1", .port = local.substr(10)});
  EXPECT_NE(again, nullptr);
  scope.cancel();
  co_await scope.join();
}

TASK_TEST_P(SocketTest, AnAbstractSocketNeedsNoPath) {
  UnixAddress address{.path = path(), .abstract = true};
  auto listener = co_await listen(address);
  EXPECT_TRUE(co_await connect(reactor(), address));
  EXPECT_EQ(access(path().c_str(), F_OK), -1);
}

TASK_TEST_P(SocketTest, AFreeTcpPortIsChosenAndTold) {
  auto listener = co_await listen(InetAddress{.host = "127.0.0.1", .port = "0"});
  std::string local = describe(listener->local_address(0));
  EXPECT_EQ(local.substr(0, 10), "127.0.0.1:");
  std::string port = local.substr(10);
  EXPECT_NE(port, "0");
  auto fd = co_await connect(reactor(), InetAddress{.host = "127.0.0.1", .port = port});
  EXPECT_TRUE(fd.has_value());
  auto accepted = co_await listener->accept(0);
  EXPECT_TRUE(accepted.has_value());
  EXPECT_EQ(describe(accepted->peer).substr(0, 10), "127.0.0.1:");
  co_await check_connected(std::move(*fd), std::move(accepted->fd));
  EXPECT_EQ(co_await listen_error(InetAddress{.host = "127.0.0.1", .port = port}),
            "Failed to find an available port: Address already in use");
  std::uint16_t taken = static_cast<std::uint16_t>(std::stoi(port));
  auto next = co_await listen(
      InetAddress{.host = "127.0.0.1", .port = port, .to = static_cast<std::uint16_t>(std::min(taken + 50, 65535))});
  EXPECT_NE(describe(next->local_address(0)), local);
}

TASK_TEST_P(SocketTest, AnInheritedSocketIsListenedOn) {
  OwnedFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
  NumericAddress address = *unix_address({.path = path()});
  EXPECT_EQ(bind(fd.get(), address.get(), address.length), 0);
  auto listener = co_await listen(FdAddress{.descriptor = "5", .socket = std::make_shared<OwnedFd>(std::move(fd))});
  EXPECT_TRUE(co_await connect(reactor(), UnixAddress{.path = path()}));
  EXPECT_TRUE(co_await listener->accept(0));
}

TASK_TEST_P(SocketTest, ANumberAloneIsNoDescriptor) {
  OwnedFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
  const FdAddress number{.descriptor = std::to_string(fd.get())};
  EXPECT_EQ(co_await listen_error(number), "only QEMU supports file descriptor passing");
  auto connected = co_await connect(reactor(), number);
  EXPECT_FALSE(connected.has_value());
  EXPECT_GE(fcntl(fd.get(), F_GETFD), 0);
}

TASK_TEST_P(SocketTest, ErrorsNameWhatFailed) {
  EXPECT_EQ(co_await listen_error(UnixAddress{.path = path("no/such")}),
            "Failed to bind socket to " + path("no/such") + ": No such file or directory");
  EXPECT_EQ(co_await listen_error(InetAddress{.host = "1.2.3.4.5", .port = "1", .numeric = true}),
            "address resolution failed for 1.2.3.4.5:1: Name or service not known");
  EXPECT_EQ(co_await listen_error(InetAddress{.host = "", .port = "1", .ipv4 = false, .ipv6 = false}),
            "Cannot disable IPv4 and IPv6 at same time");
  auto refused = co_await connect(reactor(), UnixAddress{.path = path()});
  EXPECT_EQ(refused.error().message(), "Failed to connect to '" + path() + "': No such file or directory");
  auto listener = co_await listen(InetAddress{.host = "127.0.0.1", .port = "0"});
  std::string local = describe(listener->local_address(0));
  listener.reset();
  refused = co_await connect(reactor(), InetAddress{.host = "127.0.0.1", .port = local.substr(10)});
  EXPECT_EQ(refused.error().message(), "Failed to connect to '" + local + "': Connection refused");
}

TASK_TEST_P(SocketTest, WaitingForAConnectionCanBeCancelled) {
  auto listener = co_await listen(UnixAddress{.path = path()});
  aio::Scope scope(reactor());
  bool cancelled = false;
  scope.spawn("accept", [](Listener& from, bool& out) -> Task<void> {
    auto accepted = co_await from.accept(0);
    out = !accepted && accepted.error() == Errno(ECANCELED);
  }(*listener, cancelled));
  scope.cancel();
  co_await scope.join();
  EXPECT_TRUE(cancelled);
}

class StreamTest : public aio::testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();
};
BLOCKEXPORT_FOR_EACH_BACKEND(StreamTest);

TASK_TEST_P(StreamTest, AllIsSentThoughItDoesNotFitAtOnce) {
  auto [one, other] = make_socket_pair();
  SocketStream sender(reactor(), one);
  SocketStream receiver(reactor(), other);
  std::vector<std::byte> sent(3u << 20);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i * 31 >> 8);
  aio::Scope scope(reactor());
  scope.spawn("send", [](Stream& to, std::span<const std::byte> bytes) -> Task<void> {
    EXPECT_TRUE(co_await send_all(to, bytes));
  }(sender, sent));
  std::vector<std::byte> received(sent.size());
  for (std::size_t at = 0; at < received.size();) {
    IoCount count = co_await receive_some(receiver, std::span(received).subspan(at));
    if (!count || *count == 0) break;
    at += *count;
  }
  EXPECT_TRUE(received == sent);
  co_await scope.join();
}

TASK_TEST_P(StreamTest, APeerThatLeavesIsNoticedBehindWhatItSent) {
  auto [one, other] = make_socket_pair();
  SocketStream stream(reactor(), one);
  auto peer = std::make_unique<SocketStream>(reactor(), other);
  EXPECT_TRUE(co_await send_all(*peer, std::as_bytes(std::span("unread", 6))));
  aio::Scope scope(reactor());
  bool gone = false;
  scope.spawn("watch", [](Stream& watched, bool& noticed) -> Task<void> {
    noticed = (co_await watched.hung_up()).has_value();
  }(stream, gone));
  for (int i = 0; i < 10; ++i) (void)co_await reactor().sleep_until(reactor().now_ns() + 200'000);
  EXPECT_FALSE(gone);
  peer.reset();
  co_await scope.join();
  EXPECT_TRUE(gone);
}

TASK_TEST_P(StreamTest, ShuttingDownEndsBothDirections) {
  auto [one, other] = make_socket_pair();
  SocketStream stream(reactor(), one);
  SocketStream peer(reactor(), other);
  stream.shut_down();
  std::array<std::byte, 4> buffer{};
  EXPECT_EQ(co_await receive_some(stream, buffer), IoCount(0u));
  EXPECT_EQ(co_await receive_some(peer, buffer), IoCount(0u));
  EXPECT_EQ(co_await send_all(stream, buffer), IoResult(fail(EPIPE)));
}

}  // namespace
}  // namespace blockexport::net
