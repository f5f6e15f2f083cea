#include "http/server.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/sync/with_deadline.h"
#include "aio/task/current.h"
#include "base/lasting_condition.h"

namespace blockexport::http {
namespace {

constexpr std::size_t kReceiveBytes = 2048;
constexpr int kNotFound = 404;

std::string_view reason_of(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 421:
      return "Misdirected Request";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

std::string head_of(const Reply& reply, bool keeps_connection) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n"
      "X-Content-Type-Options: nosniff\r\n{}Connection: {}\r\n\r\n",
      reply.code, reason_of(reply.code), reply.content_type, reply.body.size(),
      reply.code == 405 ? "Allow: GET, HEAD\r\n" : "", keeps_connection ? "keep-alive" : "close");
}

Reply refusal(int code) {
  return {.code = code, .body = fmt::format("{}\n", reason_of(code))};
}

aio::Task<IoResult> send_text(net::Stream& stream, std::string text) {
  co_return co_await net::send_all(stream, std::as_bytes(std::span(text)));
}

}  // namespace

Server::Server(aio::Reactor& reactor, const Log& log, Handler& handler)
    : reactor_(reactor), log_(log), handler_(handler), slot_free_(reactor), connections_(reactor) {}

Server::~Server() = default;

void Server::listen_on(std::unique_ptr<net::Listener> listener) {
  listeners_.push_back(std::make_shared<Listening>(reactor_, std::move(listener)));
  Listening& added = *listeners_.back();
  added.listener->settle();
  for (std::size_t i = 0; i < added.listener->socket_count(); ++i) {
    added.accepting.spawn("http accept", accept_loop(*added.listener, i));
  }
}

aio::Task<void> Server::stop_listening_on(const net::Listener& listener) {
  const auto found = std::ranges::find(listeners_, &listener, [](const auto& one) { return one->listener.get(); });
  if (found == listeners_.end()) co_return;
  // It stays in the list until its tasks have ended, so that close() waits for them too.
  const std::shared_ptr<Listening> ended = *found;
  ended->accepting.cancel();
  co_await ended->accepting.join();
  std::erase(listeners_, ended);
}

aio::Task<void> Server::close() {
  const std::vector<std::shared_ptr<Listening>> ended = listeners_;
  for (const auto& one : ended) one->accepting.cancel();
  for (const auto& one : ended) co_await one->accepting.join();
  listeners_.clear();
  connections_.cancel();
  co_await connections_.join();
}

aio::Task<void> Server::accept_loop(net::Listener& listener, std::size_t index) {
  LastingCondition refusal(log_);
  for (;;) {
    auto accepted = co_await listener.accept(index);
    if (!accepted) {
      if (accepted.error() == Errno(ECANCELED)) co_return;
      refusal.happened(fmt::format("cannot accept HTTP clients on {}: {}", net::describe(listener.address()),
                                   errno_text(accepted.error())));
      if (!co_await reactor_.sleep_until(reactor_.now_ns() + net::kAcceptPauseNs)) co_return;
      continue;
    }
    if (refusal.is_on()) {
      refusal.ended(fmt::format("HTTP clients are accepted on {} again", net::describe(listener.address())));
    }
    if (!co_await wait_for_slot()) co_return;
    connections_.spawn("http connection", serve(std::move(*accepted)));
    // A flood of clients must not hold up the loop.
    co_await aio::next_turn();
  }
}

aio::Task<IoResult> Server::wait_for_slot() {
  while (connections_.size() >= kConnectionsMax) {
    slot_free_.reset();
    if (!waiting_.empty()) {
      Connection& oldest = waiting_.front();
      oldest.unlink();
      oldest.stream.shut_down();
      ++counters_.cut_connections;
    }
    CO_TRY(co_await slot_free_.wait());
  }
  co_return IoResult{};
}

aio::Task<void> Server::serve(net::Accepted accepted) {
  {
    const bool is_tcp = accepted.peer.family() == AF_INET || accepted.peer.family() == AF_INET6;
    Connection connection(reactor_, accepted.fd.release(), is_tcp);
    while (co_await serve_one(connection)) {
    }
  }
  // This task leaves its scope within this turn.
  slot_free_.set();
}

aio::Task<bool> Server::serve_one(Connection& connection) {
  waiting_.push_back(connection);
  const std::uint64_t deadline_ns = aio::deadline_after(reactor_, kExchangeMaxNs);
  auto received = co_await aio::with_deadline("http request", deadline_ns, receive(connection));
  connection.unlink();
  const Parsed& parsed = received.value;
  if (received.is_late) ++counters_.late_requests;
  if (parsed.status == ParseStatus::kIncomplete) co_return false;
  if (parsed.status == ParseStatus::kInvalid) {
    (void)co_await send(connection, refusal(parsed.code), nullptr);
    co_await linger(connection);
    co_return false;
  }
  const bool goes_on = co_await respond(connection, parsed.request);
  connection.input.erase(0, parsed.consumed);
  co_return goes_on;
}

// Incomplete: the client has left, or its time is over.
aio::Task<Parsed> Server::receive(Connection& connection) {
  std::string& input = connection.input;
  for (;;) {
    Parsed parsed = parse_request(std::string_view(input).substr(0, kHeadBytesMax));
    if (parsed.status != ParseStatus::kIncomplete) co_return parsed;
    const std::size_t before = input.size();
    input.resize(before + kReceiveBytes);
    const IoCount got = connection.stream.try_receive(std::as_writable_bytes(std::span(input)).subspan(before));
    input.resize(before + got.value_or(0));
    if (got && *got > 0) continue;
    if (got || got.error() != Errno(EAGAIN)) co_return Parsed{};
    if (!co_await connection.stream.readable()) co_return Parsed{};
  }
}

aio::Task<bool> Server::respond(Connection& connection, const Request& request) {
  if (connection.is_tcp && request.host && !hosts_.accepts(*request.host)) {
    ++counters_.refused_hosts;
    co_return co_await send(connection, refusal(421), &request);
  }
  if (request.method != "GET" && request.method != "HEAD") {
    co_return co_await send(connection, refusal(405), &request);
  }
  Reply reply = co_await handler_.answer(request);
  if (reply.code == kNotFound && reply.body.empty()) reply = refusal(kNotFound);
  co_return co_await send(connection, std::move(reply), &request);
}

// `request`: null for an invalid one. Whether another request may follow.
aio::Task<bool> Server::send(Connection& connection, Reply reply, const Request* request) {
  const bool keeps_connection = request != nullptr && request->keeps_connection;
  std::string text = head_of(reply, keeps_connection);
  if (request == nullptr || request->method != "HEAD") text += reply.body;
  reply.body = std::string();
  const std::uint64_t deadline_ns = aio::deadline_after(reactor_, kExchangeMaxNs);
  auto sent = co_await aio::with_deadline("http reply", deadline_ns, send_text(connection.stream, std::move(text)));
  if (sent.is_late) ++counters_.late_requests;
  co_return sent.value.has_value() && keeps_connection;
}

namespace {

aio::Task<void> discard(net::Stream& stream) {
  std::byte bytes[kReceiveBytes];
  for (std::size_t total = 0; total < kLingerBytesMax;) {
    const IoCount got = co_await net::receive_some(stream, bytes);
    if (!got || *got == 0) co_return;
    total += *got;
  }
}

}  // namespace

aio::Task<void> Server::linger(Connection& connection) {
  (void)co_await aio::with_deadline("http linger", aio::deadline_after(reactor_, kLingerNs),
                                    discard(connection.stream));
}

}  // namespace blockexport::http
