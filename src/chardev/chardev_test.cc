#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "aio/testing/descriptor_limit.h"
#include "aio/testing/task_test.h"
#include "chardev/descriptor_stream.h"
#include "chardev/open_chardev.h"
#include "chardev/registry.h"
#include "net/connect.h"
#include "net/listen.h"
#include "net/socket_stream.h"

namespace blockexport::chardev {
namespace {

using aio::Task;
using OptionalStream = std::expected<std::unique_ptr<net::Stream>, Errno>;

class ChardevTest : public aio::testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();

  std::string path(const std::string& name = "socket") const { return directory_.path() + "/" + name; }
  Task<std::unique_ptr<Chardev>> open(Options options) {
    auto chardev = co_await open_chardev(reactor(), log_, "char0", std::move(options));
    EXPECT_TRUE(chardev.has_value()) << (chardev ? "" : chardev.error().message());
    co_return chardev ? std::move(*chardev) : nullptr;
  }
  Task<void> open_into(Options options, std::unique_ptr<Chardev>& chardev) {
    chardev = co_await open(std::move(options));
  }
  Task<void> open_quietly(Options options, std::unique_ptr<Chardev>& chardev) {
    auto opened = co_await open_chardev(reactor(), log_, "char0", std::move(options));
    if (opened) chardev = std::move(*opened);
  }
  static Task<void> keep(Task<IoResult> wait, IoResult& result) { result = co_await std::move(wait); }
  void make_pipe(const std::string& name) { EXPECT_EQ(mkfifo(path(name).c_str(), 0600), 0); }
  static std::string content_of_pipe(int fd) {
    std::array<char, 100> bytes;
    ssize_t count = ::read(fd, bytes.data(), bytes.size());
    return std::string(bytes.data(), count > 0 ? static_cast<std::size_t>(count) : 0);
  }
  Task<std::string> open_error(Options options) {
    auto chardev = co_await open_chardev(reactor(), log_, "char0", std::move(options));
    co_return chardev ? "" : chardev.error().message();
  }
  Task<std::unique_ptr<net::Stream>> dial() {
    auto fd = co_await net::connect(reactor(), net::UnixAddress{.path = path()});
    EXPECT_TRUE(fd.has_value());
    co_return fd ? std::make_unique<net::SocketStream>(reactor(), fd->release()) : nullptr;
  }
  static Task<void> send(net::Stream& stream, std::string_view text) {
    EXPECT_TRUE(co_await net::send_all(stream, std::as_bytes(std::span(text))));
  }
  // The bytes of one receive; "" at the end.
  static Task<std::string> receive(net::Stream& stream) {
    std::array<std::byte, 100> buffer;
    IoCount count = co_await net::receive_some(stream, buffer);
    co_return std::string(reinterpret_cast<const char*>(buffer.data()), count.value_or(0));
  }
  static Task<void> receive_into(net::Stream& stream, std::string& received) { received = co_await receive(stream); }
  static Task<void> take_next(Chardev& chardev, OptionalStream& stream) { stream = co_await chardev.next_stream(); }
  Task<void> pause() { (void)co_await reactor().sleep_until(reactor().now_ns() + 20'000'000); }
  SocketOptions server(bool wait = false) { return {.address = net::UnixAddress{.path = path()}, .wait = wait}; }
  SocketOptions client(std::uint64_t reconnect_ms = 0) {
    return {.address = net::UnixAddress{.path = path()}, .server = false, .reconnect_ms = reconnect_ms};
  }

  Log log_{"chardev_test", 2, LogLevel::kError};
  aio::testing::TemporaryDirectory directory_;
};
INSTANTIATE_TEST_SUITE_P(Backends, ChardevTest, ::testing::Values("io_uring", "epoll"),
                         [](const auto& info) { return std::string(info.param); });

TASK_TEST_P(ChardevTest, AServerServesOneClientAfterTheOther) {
  auto chardev = co_await open(server());
  EXPECT_EQ(chardev->filename(), "disconnected:unix:" + path() + ",server=on");
  auto one = co_await dial();
  auto first = co_await chardev->next_stream();
  EXPECT_EQ(chardev->filename(), "unix:" + path() + ",server=on");
  co_await send(*one, "one");
  EXPECT_EQ(co_await receive(**first), "one");
  auto two = co_await dial();
  co_await send(*two, "two");
  one.reset();
  EXPECT_EQ(co_await receive(**first), "");
  first->reset();
  chardev->stream_closed();
  EXPECT_EQ(chardev->filename(), "disconnected:unix:" + path() + ",server=on");
  auto second = co_await chardev->next_stream();
  EXPECT_EQ(co_await receive(**second), "two");
}

TASK_TEST_P(ChardevTest, AServerThatWaitsOpensWithItsFirstClient) {
  std::unique_ptr<Chardev> chardev;
  aio::Scope scope(reactor());
  scope.spawn("open", open_into(server(true), chardev));
  co_await pause();
  EXPECT_EQ(chardev, nullptr);
  auto peer = co_await dial();
  co_await scope.join();
  auto stream = co_await chardev->next_stream();
  co_await send(*peer, "hello");
  EXPECT_EQ(co_await receive(**stream), "hello");
}

TASK_TEST_P(ChardevTest, WaitingForAPeerCanBeCancelled) {
  auto chardev = co_await open(server());
  OptionalStream stream = fail(EINVAL);
  aio::Scope scope(reactor());
  scope.spawn("next", take_next(*chardev, stream));
  scope.cancel();
  co_await scope.join();
  EXPECT_EQ(stream.error(), Errno(ECANCELED));
}

TASK_TEST_P(ChardevTest, WithoutADescriptorForAPeerAcceptingPauses) {
  auto chardev = co_await open(server());
  OptionalStream stream = fail(EINVAL);
  aio::Scope scope(reactor());
  std::optional<aio::testing::DescriptorLimit> limit(1);  // for the peer's socket
  const std::uint64_t began_ns = reactor().now_ns();
  auto peer = co_await dial();
  scope.spawn("next", take_next(*chardev, stream));
  co_await pause();
  limit.reset();
  co_await scope.join();
  EXPECT_TRUE(stream.has_value());
  EXPECT_GE(reactor().now_ns() - began_ns, 100'000'000u);
}

TASK_TEST_P(ChardevTest, AClientCallsOnce) {
  EXPECT_NE(co_await open_error(client()), "");
  auto listener = co_await net::Listener::open(reactor(), net::UnixAddress{.path = path()});
  auto chardev = co_await open(client());
  EXPECT_EQ(chardev->filename(), "unix:" + path());
  auto peer = co_await (*listener)->accept(0);
  auto stream = co_await chardev->next_stream();
  EXPECT_TRUE(stream.has_value());
  stream->reset();
  chardev->stream_closed();
  auto again = co_await chardev->next_stream();
  EXPECT_EQ(again.error(), Errno(ENOTCONN));
}

TASK_TEST_P(ChardevTest, AClientCallsAgainUntilSomebodyAnswers) {
  auto chardev = co_await open(client(5));
  OptionalStream stream = fail(EINVAL);
  aio::Scope scope(reactor());
  scope.spawn("next", take_next(*chardev, stream));
  co_await pause();
  EXPECT_FALSE(stream.has_value());
  auto listener = co_await net::Listener::open(reactor(), net::UnixAddress{.path = path()});
  auto peer = co_await (*listener)->accept(0);
  co_await scope.join();
  EXPECT_TRUE(stream.has_value());
  // The peer hangs up: the chardev connects again.
  peer->fd = OwnedFd();
  EXPECT_EQ(co_await receive(**stream), "");
  stream->reset();
  chardev->stream_closed();
  stream = co_await chardev->next_stream();
  EXPECT_TRUE(stream.has_value());
}

TASK_TEST_P(ChardevTest, AFileTakesOutputAndGivesInput) {
  std::ofstream(path("in")) << "command";
  {
    auto chardev = co_await open(FileOptions{.output_path = path("out"), .input_path = path("in")});
    auto stream = co_await chardev->next_stream();
    EXPECT_EQ(co_await receive(**stream), "command");
    EXPECT_EQ(co_await receive(**stream), "");
    co_await send(**stream, "answer");
    EXPECT_EQ((co_await chardev->next_stream()).error(), Errno(ENXIO));
    auto more = co_await open(FileOptions{.output_path = path("out"), .append = true});
    auto second = co_await more->next_stream();
    co_await send(**second, "+");
  }
  std::ifstream written(path("out"));
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(written), {}), "answer+");
}

TASK_TEST_P(ChardevTest, APipeIsWrittenToOnceSomebodyReadsIt) {
  make_pipe("pipe");
  std::unique_ptr<Chardev> chardev;
  aio::Scope scope(reactor());
  scope.spawn("open", open_into(FileOptions{.output_path = path("pipe")}, chardev));
  co_await pause();
  EXPECT_EQ(chardev, nullptr);
  OwnedFd reader(::open(path("pipe").c_str(), O_RDONLY | O_NONBLOCK));
  co_await scope.join();
  auto stream = co_await chardev->next_stream();
  co_await send(**stream, "hello");
  EXPECT_EQ(content_of_pipe(reader.get()), "hello");
  // Output without a reader is dropped; a new reader sees later output.
  reader.reset();
  co_await send(**stream, "nobody");
  reader = OwnedFd(::open(path("pipe").c_str(), O_RDONLY | O_NONBLOCK));
  co_await send(**stream, "again");
  EXPECT_EQ(content_of_pipe(reader.get()), "again");
}

TASK_TEST_P(ChardevTest, APipeThatNobodyReadsIsGivenUpInTime) {
  make_pipe("pipe");
  EXPECT_EQ(co_await open_error(FileOptions{.output_path = path("pipe"), .pipe_wait_ns = 20'000'000}),
            "Could not open '" + path("pipe") + "': No such device or address");
  aio::Scope scope(reactor());
  std::unique_ptr<Chardev> chardev;
  scope.spawn("open", open_quietly(FileOptions{.output_path = path("pipe")}, chardev));
  scope.cancel();
  co_await scope.join();
  EXPECT_EQ(chardev, nullptr);
}

TASK_TEST_P(ChardevTest, InputFromAPipeBeginsWithItsFirstWriter) {
  make_pipe("in");
  auto chardev = co_await open(FileOptions{.output_path = path("out"), .input_path = path("in")});
  auto stream = co_await chardev->next_stream();
  aio::Scope scope(reactor());
  std::string received = "nothing yet";
  scope.spawn("receive", receive_into(**stream, received));
  co_await pause();
  EXPECT_EQ(received, "nothing yet");
  OwnedFd writer(::open(path("in").c_str(), O_WRONLY | O_NONBLOCK));
  EXPECT_EQ(::write(writer.get(), "command", 7), 7);
  co_await scope.join();
  EXPECT_EQ(received, "command");
  writer.reset();
  EXPECT_EQ(co_await receive(**stream), "");
}

TASK_TEST_P(ChardevTest, AStreamOfDescriptorsThatIsShutDownWakesEveryWait) {
  int full[2];
  int silent[2];
  CO_ASSERT(pipe2(full, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(silent, O_CLOEXEC | O_NONBLOCK) == 0);
  const OwnedFd ends[] = {OwnedFd(full[0]), OwnedFd(full[1]), OwnedFd(silent[0]), OwnedFd(silent[1])};
  const std::string filling(1u << 20, 'x');
  while (::write(full[1], filling.data(), filling.size()) > 0) continue;
  DescriptorStream stream(reactor(), silent[0], full[1]);
  IoResult results[3] = {fail(EINVAL), fail(EINVAL), fail(EINVAL)};
  aio::Scope scope(reactor());
  scope.spawn("reader", keep(stream.readable(), results[0]));
  scope.spawn("writer", keep(stream.writable(), results[1]));
  scope.spawn("watcher", keep(stream.hung_up(), results[2]));
  co_await pause();
  EXPECT_EQ(scope.size(), 3u);
  stream.shut_down();
  co_await scope.join();
  for (const IoResult& result : results) EXPECT_TRUE(result.has_value());
  std::array<std::byte, 1> room;
  EXPECT_EQ(stream.try_receive(room).value_or(1), 0u);
}

TASK_TEST_P(ChardevTest, AFileThatCannotBeOpenedIsNamed) {
  EXPECT_EQ(co_await open_error(FileOptions{.output_path = path("no/such")}),
            "Could not open '" + path("no/such") + "': No such file or directory");
  EXPECT_EQ(co_await open_error(FileOptions{.output_path = path("out"), .input_path = path("in")}),
            "Could not open '" + path("in") + "': No such file or directory");
  EXPECT_NE(access(path("out").c_str(), F_OK), 0) << "made for nothing";
}

TASK_TEST_P(ChardevTest, NullSwallowsAndIsSilent) {
  auto chardev = co_await open(NullOptions{});
  EXPECT_EQ(chardev->filename(), "null");
  auto stream = co_await chardev->next_stream();
  co_await send(**stream, std::string(1u << 20, 'x'));
  aio::Scope scope(reactor());
  std::string received = "nothing yet";
  scope.spawn("receive", receive_into(**stream, received));
  co_await pause();
  EXPECT_EQ(received, "nothing yet");
  scope.cancel();
  co_await scope.join();
}

TASK_TEST_P(ChardevTest, TheRegistryKeepsIdsApart) {
  Registry registry;
  EXPECT_TRUE(registry.check_new("char0"));
  registry.add(co_await open(NullOptions{}));
  EXPECT_EQ(registry.check_new("char0").error().message(), "Chardev with id 'char0' already exists");
  registry.find("char0")->attach_frontend();
  EXPECT_EQ(registry.remove("char0").error().message(), "Chardev 'char0' is busy");
  registry.find("char0")->detach_frontend();
  EXPECT_TRUE(registry.remove("char0"));
  EXPECT_EQ(registry.find("char0"), nullptr);
  EXPECT_EQ(registry.remove("char0").error().message(), "Chardev 'char0' not found");
}

}  // namespace
}  // namespace blockexport::chardev
