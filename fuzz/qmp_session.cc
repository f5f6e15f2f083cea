// Fuzzes a QMP session: a client's bytes against a session with a few commands, on a simulation.
//
// Input: one byte that selects the behaviour of the connection, then the client's bytes. Promises: the session ends
// when the client leaves, no assertion fails, and every line it sends is one JSON document.
#include <array>
#include <cstdlib>

#include "aio/sync/scope.h"
#include "aio/testing/simulation.h"
#include "json/parser.h"
#include "net/socket_stream.h"
#include "qmp/session.h"
#include "qmp/testing/echo_runner.h"

namespace blockexport::qmp {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

aio::Task<void> serve(SessionContext context, std::unique_ptr<net::Stream> stream) {
  Session session(context, std::move(stream));
  co_await session.run();
}

aio::Task<void> send_words(net::Stream& stream, std::span<const std::byte> words) {
  (void)co_await net::send_all(stream, words);
}

// Reads until the end of the stream.
aio::Task<void> read_all(net::Stream& stream, std::string& output) {
  std::array<std::byte, 4096> buffer;
  for (;;) {
    IoCount received = co_await net::receive_some(stream, buffer);
    if (!received || *received == 0) co_return;
    output.append(reinterpret_cast<const char*>(buffer.data()), *received);
  }
}

void check_lines(std::string_view received) {
  while (!received.empty()) {
    std::size_t end = received.find("\r\n");
    require(end != std::string_view::npos);
    auto line = json::parse(received.substr(0, end));
    require(line.has_value() && line->as_object() != nullptr);
    received.remove_prefix(end + 2);
  }
}

void fuzz(std::uint8_t choice, std::span<const std::byte> words) {
  aio::Simulation simulation(choice);
  simulation.options().streams.any_length = (choice & 1) != 0;
  simulation.options().streams.byte_by_byte = (choice & 2) != 0;
  auto reactor = simulation.make_reactor();
  {
    Log log("fuzz", 2, LogLevel::kError);
    EventQueue events(*reactor);
    testing::EchoRunner runner(events);
    auto [server_end, client_end] = simulation.socket_pair();
    auto client = std::make_unique<net::SocketStream>(*reactor, client_end);
    aio::Scope scope(*reactor);
    SessionContext context{.reactor = *reactor, .runner = runner, .events = events, .log = log};
    scope.spawn("session", serve(context, std::make_unique<net::SocketStream>(*reactor, server_end)));
    std::string received;
    bool reads = (choice & 4) == 0;
    if (reads) scope.spawn("reader", read_all(*client, received));
    scope.spawn("writer", send_words(*client, words));
    simulation.run_until_idle(*reactor);
    if (reads) check_lines(received);
    client->shut_down();
    simulation.run_until_idle(*reactor);
    require(scope.size() == 0);
    scope.spawn("end", events.close());
    simulation.run_until_idle(*reactor);
  }
}

}  // namespace
}  // namespace blockexport::qmp

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  blockexport::qmp::fuzz(data[0], std::as_bytes(std::span(data, size)).subspan(1));
  return 0;
}
