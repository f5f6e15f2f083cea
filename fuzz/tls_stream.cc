// Fuzzes a server's TLS stream after STARTTLS, on a simulation: against arbitrary bytes, or against a valid TLS client
// whose bytes are changed in transit.
//
// Input: a byte of settings (see the constants below); then the arbitrary bytes, or changes of three bytes each: two
// for an offset in the client's stream, and one to XOR with. Promises: it ends, no assertion fails, and the received
// data is a prefix of the client's.
#include "net/tls_stream.h"

#include <array>
#include <cstdlib>
#include <map>

#include "aio/sync/scope.h"
#include "aio/testing/simulation.h"
#include "net/socket_stream.h"
#include "net/tls_anonymous_credentials.h"

namespace blockexport::net {
namespace {

constexpr std::uint8_t kChangesOnTheWay = 1;
constexpr std::uint8_t kAnyLength = 2;
constexpr std::uint8_t kByteByByte = 4;
constexpr std::size_t kPlainBytes = 40'000;

void require(bool promise) {
  if (!promise) std::abort();
}

TlsCredentialsReference credentials(TlsEndpoint endpoint) {
  auto loaded =
      TlsAnonymousCredentials::load({.directory = {}, .endpoint = endpoint, .verify_peer = true, .priority = {}});
  require(loaded.has_value());
  return *loaded;
}

// The server's end of the connection, which changes bytes in transit.
class ChangedStream final : public Stream {
 public:
  ChangedStream(std::unique_ptr<Stream> below, std::map<std::size_t, std::byte> changes)
      : below_(std::move(below)), changes_(std::move(changes)) {}
  IoCount try_receive(std::span<std::byte> buffer) override {
    IoCount received = below_->try_receive(buffer);
    for (std::size_t i = 0; i < received.value_or(0); ++i) {
      if (auto change = changes_.find(position_ + i); change != changes_.end()) buffer[i] ^= change->second;
    }
    position_ += received.value_or(0);
    return received;
  }
  IoCount try_send(std::span<const iovec> vectors) override { return below_->try_send(vectors); }
  aio::Task<IoResult> readable() override { return below_->readable(); }
  aio::Task<IoResult> writable() override { return below_->writable(); }
  aio::Task<IoResult> hung_up() override { return below_->hung_up(); }
  void shut_down() override { below_->shut_down(); }
  void detach() override { below_->detach(); }
  void attach(aio::Reactor& reactor) override { below_->attach(reactor); }

 private:
  std::unique_ptr<Stream> below_;
  std::map<std::size_t, std::byte> changes_;
  std::size_t position_ = 0;
};

std::byte plain(std::size_t index) {
  return static_cast<std::byte>(index * 13 + index / 256);
}

aio::Task<void> serve(TlsStream& stream, aio::Reactor& reactor) {
  if (auto identity = co_await stream.handshake(reactor, reactor.now_ns() + 10'000'000'000); identity) {
    std::array<std::byte, 5000> buffer;
    std::size_t position = 0;
    for (;;) {
      IoCount received = co_await receive_some(stream, buffer);
      if (!received || *received == 0) break;
      for (std::size_t i = 0; i < *received; ++i) require(buffer[i] == plain(position + i));
      position += *received;
      (void)co_await send_all(stream, std::span(buffer).first(*received));
    }
  }
  stream.shut_down();
}

aio::Task<void> call(TlsStream& stream, aio::Reactor& reactor) {
  if (auto identity = co_await stream.handshake(reactor, reactor.now_ns() + 10'000'000'000); identity) {
    std::vector<std::byte> bytes(kPlainBytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = plain(i);
    (void)co_await send_all(stream, bytes);
  }
  stream.shut_down();
}

aio::Task<void> read_all(Stream& stream) {
  std::array<std::byte, 4096> buffer;
  for (;;) {
    IoCount received = co_await receive_some(stream, buffer);
    if (!received || *received == 0) co_return;
  }
}

aio::Task<void> send_words(Stream& stream, std::span<const std::byte> words) {
  (void)co_await send_all(stream, words);
  stream.shut_down();
}

std::map<std::size_t, std::byte> changes_of(std::span<const std::byte> input) {
  std::map<std::size_t, std::byte> changes;
  for (std::size_t i = 0; i + 2 < input.size(); i += 3) {
    changes[static_cast<std::size_t>(input[i]) << 8 | static_cast<std::size_t>(input[i + 1])] = input[i + 2];
  }
  return changes;
}

void fuzz(std::uint8_t choice, std::span<const std::byte> input) {
  const bool changed = (choice & kChangesOnTheWay) != 0;
  aio::Simulation simulation(choice);
  simulation.options().streams.any_length = (choice & kAnyLength) != 0;
  simulation.options().streams.byte_by_byte = (choice & kByteByByte) != 0;
  auto reactor = simulation.make_reactor();
  auto [server_end, client_end] = simulation.socket_pair();
  auto changes = changed ? changes_of(input) : std::map<std::size_t, std::byte>();
  TlsStream server(
      std::make_unique<ChangedStream>(std::make_unique<SocketStream>(*reactor, server_end), std::move(changes)),
      credentials(TlsEndpoint::kServer));
  auto socket = std::make_unique<SocketStream>(*reactor, client_end);
  aio::Scope scope(*reactor);
  scope.spawn("server", serve(server, *reactor));
  if (changed) {
    TlsStream client(std::move(socket), credentials(TlsEndpoint::kClient));
    scope.spawn("client", call(client, *reactor));
    simulation.run_until_idle(*reactor);
    client.shut_down();
    simulation.run_until_idle(*reactor);
    require(scope.size() == 0);
    return;
  }
  scope.spawn("reader", read_all(*socket));
  scope.spawn("writer", send_words(*socket, input));
  simulation.run_until_idle(*reactor);
  require(scope.size() == 0);
}

}  // namespace
}  // namespace blockexport::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  blockexport::net::fuzz(data[0], std::as_bytes(std::span(data, size)).subspan(1));
  return 0;
}
