// The HTTP server with real sockets: replies, and clients that are slow, wrong or too many.
#include "http/server.h"

#include <gtest/gtest.h>

#include <deque>

#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"
#include "aio/testing/until.h"
#include "net/connect.h"

namespace blockexport::http {
namespace {

using aio::Task;

class Pages final : public Handler {
 public:
  Task<Reply> answer(Request request) override {
    ++calls;
    if (request.path == "/gone") co_return Reply{.code = 404};
    if (request.path == "/large") co_return Reply{.body = std::string(8u << 20, 'x')};
    co_return Reply{.body = std::string(request.path) + "\n"};
  }
  int calls = 0;
};

class HttpServerTest : public aio::testing::ForEachBackend {
 protected:
  template <class Test>
  Task<void> body();
  void SetUp() override {
    ForEachBackend::SetUp();
    if (IsSkipped()) return;
    server_.emplace(reactor(), log_, pages_);
    run(listen());
  }
  void TearDown() override {
    if (!server_) return;
    clients_.clear();
    run(server_->close());
    EXPECT_EQ(server_->connection_count(), 0u);
  }
  Task<void> listen() {
    auto listener = co_await net::Listener::open(reactor(), net::InetAddress{.host = "127.0.0.1", .port = "0"});
    CO_ASSERT(listener.has_value());
    address_ = net::describe((*listener)->local_address(0));
    listener_ = listener->get();
    server_->listen_on(std::move(*listener));
  }
  Task<net::Stream*> connect() {
    const std::string port = address_.substr(address_.find(':') + 1);
    auto fd = co_await net::connect(reactor(), net::InetAddress{.host = "127.0.0.1", .port = port});
    EXPECT_TRUE(fd.has_value());
    clients_.push_back(std::make_unique<net::SocketStream>(reactor(), fd->release()));
    co_return clients_.back().get();
  }
  Task<bool> can_connect() {
    const std::string port = address_.substr(address_.find(':') + 1);
    auto fd = co_await net::connect(reactor(), net::InetAddress{.host = "127.0.0.1", .port = port});
    co_return fd.has_value();
  }
  static Task<void> send(net::Stream& stream, std::string text) {
    (void)co_await net::send_all(stream, std::as_bytes(std::span(text)));
  }
  // All that arrives until the connection ends, or until it ends with `end`.
  static Task<std::string> receive(net::Stream& stream, std::string end = {}) {
    std::string all;
    std::byte bytes[4096];
    for (;;) {
      const IoCount got = co_await net::receive_some(stream, bytes);
      if (!got || *got == 0) co_return all;
      all.append(reinterpret_cast<const char*>(bytes), *got);
      if (!end.empty() && all.ends_with(end)) co_return all;
    }
  }
  static std::string get(std::string_view path, std::string_view fields = "Host: localhost\r\n") {
    return "GET " + std::string(path) + " HTTP/1.1\r\n" + std::string(fields) + "\r\n";
  }
  Server& server() { return *server_; }
  const net::Listener& listener() const { return *listener_; }
  Pages& pages() { return pages_; }

 private:
  Log log_{"test", -1, LogLevel::kError};
  Pages pages_;
  std::optional<Server> server_;
  std::string address_;
  const net::Listener* listener_ = nullptr;
  std::deque<std::unique_ptr<net::Stream>> clients_;
};
INSTANTIATE_TEST_SUITE_P(Backends, HttpServerTest, ::testing::Values("io_uring", "epoll"),
                         [](const auto& info) { return std::string(info.param); });

TASK_TEST_P(HttpServerTest, AnswersSeveralRequestsOfOneConnectionInTheirOrder) {
  net::Stream& client = *co_await connect();
  co_await send(client, get("/a") + get("/b") + get("/c", "Host: localhost\r\nConnection: close\r\n"));
  const std::string all = co_await receive(client);
  EXPECT_TRUE(all.starts_with("HTTP/1.1 200 OK\r\n")) << all;
  EXPECT_LT(all.find("\r\n\r\n/a\n"), all.find("\r\n\r\n/b\n"));
  EXPECT_TRUE(all.ends_with("Connection: close\r\n\r\n/c\n")) << all;
  EXPECT_EQ(pages().calls, 3);
}

TASK_TEST_P(HttpServerTest, HeadGetsNoBodyAndOtherMethodsNothing) {
  net::Stream& client = *co_await connect();
  co_await send(client, "HEAD /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string head = co_await receive(client, "\r\n\r\n");
  EXPECT_NE(head.find("Content-Length: 3\r\n"), std::string::npos) << head;
  co_await send(client, "DELETE /a HTTP/1.1\r\nHost: localhost\r\n\r\n" + get("/gone"));
  const std::string all = co_await receive(client, "Not Found\n");
  EXPECT_TRUE(all.starts_with("HTTP/1.1 405 Method Not Allowed\r\n")) << all;
  EXPECT_NE(all.find("HTTP/1.1 404 Not Found\r\n"), std::string::npos);
}

TASK_TEST_P(HttpServerTest, ARequestForAnotherHostIsRefused) {
  net::Stream& client = *co_await connect();
  co_await send(client, get("/a", "Host: evil.example\r\n"));
  const std::string all = co_await receive(client, "Misdirected Request\n");
  EXPECT_TRUE(all.starts_with("HTTP/1.1 421 ")) << all;
  EXPECT_EQ(pages().calls, 0);
  EXPECT_EQ(server().counters().refused_hosts, 1u);
}

TASK_TEST_P(HttpServerTest, AHugeHeadIsRefusedAndTheConnectionEnds) {
  net::Stream& client = *co_await connect();
  co_await send(client, "GET / HTTP/1.1\r\nX: " + std::string(4 * kHeadBytesMax, 'x'));
  const std::string all = co_await receive(client, "Too Large\n");
  EXPECT_TRUE(all.starts_with("HTTP/1.1 431 ")) << all.substr(0, 80);
  client.shut_down();
  co_await aio::testing::until(reactor(), [&] { return server().connection_count() == 0; });
}

TASK_TEST_P(HttpServerTest, OneConnectionTooManyCutsTheOneThatWaitsLongest) {
  std::vector<net::Stream*> idle;
  for (std::size_t i = 0; i < kConnectionsMax; ++i) {
    idle.push_back(co_await connect());
    co_await send(*idle.back(), get("/a"));
    (void)co_await receive(*idle.back(), "/a\n");
  }
  net::Stream& newest = *co_await connect();
  co_await send(newest, get("/b"));
  EXPECT_TRUE((co_await receive(newest, "/b\n")).ends_with("/b\n"));
  EXPECT_EQ(co_await receive(*idle.front()), "");
  co_await send(*idle.back(), get("/c"));
  EXPECT_TRUE((co_await receive(*idle.back(), "/c\n")).ends_with("/c\n"));
  EXPECT_EQ(server().counters().cut_connections, 1u);
}

TASK_TEST_P(HttpServerTest, AClosedAddressKeepsItsClients) {
  net::Stream& client = *co_await connect();
  co_await send(client, get("/a"));
  EXPECT_TRUE((co_await receive(client, "/a\n")).ends_with("/a\n"));
  co_await server().stop_listening_on(listener());
  EXPECT_FALSE(co_await can_connect());
  co_await send(client, get("/b"));
  EXPECT_TRUE((co_await receive(client, "/b\n")).ends_with("/b\n"));
}

TASK_TEST_P(HttpServerTest, AClientThatReadsNothingKeepsNoOtherWaiting) {
  net::Stream& slow = *co_await connect();
  co_await send(slow, get("/large"));
  co_await aio::testing::until(reactor(), [&] { return pages().calls == 1; });
  net::Stream& other = *co_await connect();
  co_await send(other, get("/a"));
  EXPECT_TRUE((co_await receive(other, "/a\n")).ends_with("/a\n"));
}

}  // namespace
}  // namespace blockexport::http
