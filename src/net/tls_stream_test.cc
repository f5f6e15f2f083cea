// Tests of TLS between our client and our server, over socket pairs and over streams that a test controls: handshakes,
// data, and connections that end at every point.
#include "net/tls_stream.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "net/socket_stream.h"
#include "net/testing/certificates.h"
#include "net/tls_anonymous_credentials.h"
#include "net/tls_psk_credentials.h"
#include "net/tls_x509_credentials.h"

namespace blockexport::net {
namespace {

using aio::Task;
using testing::CertificateDirectory;

TlsCredentialsReference x509(const CertificateDirectory& files, TlsEndpoint endpoint, const std::string& priority = {},
                             bool verify_peer = true) {
  TlsX509Options options;
  options.directory = files.path();
  options.endpoint = endpoint;
  options.priority = priority;
  options.verify_peer = verify_peer;
  options.sanity_check = false;
  auto loaded = TlsX509Credentials::load(options);
  EXPECT_TRUE(loaded.has_value()) << (loaded ? "" : loaded.error().message());
  return *loaded;
}

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  return bytes;
}

// Passes all bytes on, at most `step_bytes` per call, and counts them.
class NarrowStream final : public Stream {
 public:
  NarrowStream(std::unique_ptr<Stream> below, std::size_t step_bytes) : below_(std::move(below)), step_(step_bytes) {}

  IoCount try_receive(std::span<std::byte> buffer) override {
    IoCount received = below_->try_receive(buffer.first(std::min(step_, buffer.size())));
    if (received) *received_bytes += *received;
    if (received && *received > 0 && *received_bytes > *corrupt_from) buffer[0] ^= std::byte{0x40};
    return received;
  }
  IoCount try_send(std::span<const iovec> vectors) override {
    ++*sends;
    iovec first{.iov_base = vectors[0].iov_base, .iov_len = std::min(step_, vectors[0].iov_len)};
    return below_->try_send({&first, 1});
  }
  Task<IoResult> readable() override { return below_->readable(); }
  Task<IoResult> writable() override { return below_->writable(); }
  Task<IoResult> hung_up() override { return below_->hung_up(); }
  void shut_down() override { below_->shut_down(); }
  void detach() override { below_->detach(); }
  void attach(aio::Reactor& reactor) override { below_->attach(reactor); }

  std::shared_ptr<std::size_t> received_bytes = std::make_shared<std::size_t>(0);
  std::shared_ptr<std::size_t> corrupt_from = std::make_shared<std::size_t>(SIZE_MAX);
  std::shared_ptr<std::size_t> sends = std::make_shared<std::size_t>(0);

 private:
  std::unique_ptr<Stream> below_;
  std::size_t step_;
};

class TlsStreamTest : public aio::testing::ForEachBackend {
 public:
  // Public, because the tests' lambdas are not members of the fixture.
  using ForEachBackend::make_socket_pair;
  using ForEachBackend::reactor;
  using ForEachBackend::simulated;

  struct Pair {
    std::unique_ptr<TlsStream> server;
    std::unique_ptr<TlsStream> client;
    Result<std::string> at_server = std::string("not yet");
    Result<std::string> at_client = std::string("not yet");
  };

  std::unique_ptr<Stream> socket(int fd) { return std::make_unique<SocketStream>(reactor(), fd); }

  Pair make(TlsCredentialsReference server, TlsCredentialsReference client, std::size_t step_bytes = SIZE_MAX,
            const std::string& host = {}) {
    auto [left, right] = make_socket_pair();
    auto narrow = std::make_unique<NarrowStream>(socket(left), step_bytes);
    received_bytes_ = narrow->received_bytes;
    corrupt_from_ = narrow->corrupt_from;
    sends_ = narrow->sends;
    return {.server = std::make_unique<TlsStream>(std::move(narrow), std::move(server)),
            .client = std::make_unique<TlsStream>(socket(right), std::move(client), host)};
  }
  Pair make_x509(std::size_t step_bytes = SIZE_MAX) {
    return make(x509(files_, TlsEndpoint::kServer), x509(files_, TlsEndpoint::kClient), step_bytes);
  }

  Task<void> shake(TlsStream& stream, Result<std::string>& outcome) {
    outcome = co_await stream.handshake(reactor(), reactor().now_ns() + 20'000'000'000);
    if (!outcome) stream.shut_down();
  }
  Task<void> connect(Pair& pair) {
    aio::Scope both(reactor());
    both.spawn("server", shake(*pair.server, pair.at_server));
    both.spawn("client", shake(*pair.client, pair.at_client));
    co_await both.join();
  }

  Task<void> send(Stream& stream, std::span<const std::byte> bytes) {
    IoResult sent = co_await send_all(stream, bytes);
    EXPECT_TRUE(sent.has_value());
  }
  Task<std::vector<std::byte>> receive(Stream& stream, std::size_t size) {
    std::vector<std::byte> bytes(size);
    std::size_t filled = 0;
    while (filled < size) {
      IoCount received = co_await receive_some(stream, std::span(bytes).subspan(filled));
      if (!received || *received == 0) break;
      filled += *received;
    }
    bytes.resize(filled);
    co_return bytes;
  }
  // Sends `size` bytes from one stream to the other.
  Task<void> carry(Stream& from, Stream& to, std::size_t size) {
    std::vector<std::byte> sent = pattern(size);
    aio::Scope sender(reactor());
    sender.spawn("sender", send(from, sent));
    std::vector<std::byte> received = co_await receive(to, size);
    EXPECT_TRUE(received == sent) << received.size() << " of " << size;
    co_await sender.join();
  }

  CertificateDirectory files_;
  std::shared_ptr<std::size_t> received_bytes_;  // by the server, encrypted
  std::shared_ptr<std::size_t> corrupt_from_;
  std::shared_ptr<std::size_t> sends_;  // by the server
};

BLOCKEXPORT_FOR_EACH_BACKEND(TlsStreamTest);

TEST_P(TlsStreamTest, CarriesBytesBothWaysAndTellsWhoThePeerIs) {
  run([](TlsStreamTest* test) -> Task<void> {
    Pair pair = test->make_x509();
    co_await test->connect(pair);
    EXPECT_TRUE(pair.at_server && *pair.at_server == "C=GB,CN=client")
        << (pair.at_server ? *pair.at_server : pair.at_server.error().message());
    EXPECT_TRUE(pair.at_client && *pair.at_client == "C=GB,CN=server");
    if (!pair.at_server) co_return;
    for (std::size_t size : {1u, 28u, 16384u, 16385u, 3'000'000u}) {
      co_await test->carry(*pair.client, *pair.server, size);
      co_await test->carry(*pair.server, *pair.client, size);
    }
  }(this));
}

TEST_P(TlsStreamTest, EveryByteMayComeAlone) {
  run([](TlsStreamTest* test) -> Task<void> {
    Pair pair = test->make_x509(1);
    co_await test->connect(pair);
    EXPECT_TRUE(pair.at_server.has_value());
    co_await test->carry(*pair.client, *pair.server, 20'000);
    co_await test->carry(*pair.server, *pair.client, 20'000);
  }(this));
}

TEST_P(TlsStreamTest, OldVersionsSpeakToo) {
  run([](TlsStreamTest* test) -> Task<void> {
    for (const char* priority : {"NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"}) {
      Pair pair =
          test->make(x509(test->files_, TlsEndpoint::kServer), x509(test->files_, TlsEndpoint::kClient, priority));
      co_await test->connect(pair);
      EXPECT_TRUE(pair.at_server.has_value());
      co_await test->carry(*pair.server, *pair.client, 100'000);
    }
  }(this));
}

TEST_P(TlsStreamTest, WhatIsNotSafeIsRefused) {
  run([](TlsStreamTest* test) -> Task<void> {
    for (const char* priority :
         {"NORMAL:-VERS-ALL:+VERS-TLS1.1", "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC",
          "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA"}) {
      Pair pair =
          test->make(x509(test->files_, TlsEndpoint::kServer), x509(test->files_, TlsEndpoint::kClient, priority));
      co_await test->connect(pair);
      EXPECT_FALSE(pair.at_server.has_value()) << priority;
      EXPECT_FALSE(pair.at_client.has_value()) << priority;
    }
  }(this));
}

TEST_P(TlsStreamTest, APriorityOfTheUsersWins) {
  run([](TlsStreamTest* test) -> Task<void> {
    const std::string cbc = "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC";
    Pair pair =
        test->make(x509(test->files_, TlsEndpoint::kServer, cbc), x509(test->files_, TlsEndpoint::kClient, cbc));
    co_await test->connect(pair);
    EXPECT_TRUE(pair.at_server.has_value());
  }(this));
}

TEST_P(TlsStreamTest, AClientWithoutCertificateIsRefusedUnlessNobodyAsks) {
  run([](TlsStreamTest* test) -> Task<void> {
    CertificateDirectory nameless;
    nameless.write("ca-cert.pem", test->files_.read("ca-cert.pem"), 0644);
    unlink(nameless.file("client-cert.pem").c_str());
    unlink(nameless.file("client-key.pem").c_str());
    Pair pair = test->make(x509(test->files_, TlsEndpoint::kServer), x509(nameless, TlsEndpoint::kClient));
    co_await test->connect(pair);
    EXPECT_FALSE(pair.at_server.has_value());
    if (!pair.at_server) EXPECT_EQ(pair.at_server.error().message(), "Verify failed: No certificate was found.");
    Pair open = test->make(x509(test->files_, TlsEndpoint::kServer, {}, false), x509(nameless, TlsEndpoint::kClient));
    co_await test->connect(open);
    EXPECT_TRUE(open.at_server && open.at_server->empty());
  }(this));
}

// Both the log and the peer get the reason.
TEST_P(TlsStreamTest, BadCertificatesAreRefusedWithTheReason) {
  struct Case {
    testing::CertificateShape shape;
    bool revoked;
    bool stranger;
    const char* reason;
  };
  run([](TlsStreamTest* test) -> Task<void> {
    const Case cases[] = {
        {{.common_name = "late", .is_for_clients = true, .begins_in = -7200, .ends_in = -3600},
         false,
         false,
         "The certificate has expired"},
        {{.common_name = "early", .is_for_clients = true, .begins_in = 3600},
         false,
         false,
         "The certificate is not yet activated"},
        {{.common_name = "server", .is_for_servers = true},
         false,
         false,
         "The certificate is not made for this purpose"},
        {{.common_name = "gone", .is_for_clients = true}, true, false, "The certificate has been revoked"},
        {{.common_name = "stranger", .is_for_clients = true}, false, true, "The certificate is not trusted"}};
    for (const Case& one : cases) {
      CertificateDirectory theirs;
      CertificateDirectory& signer = one.stranger ? theirs : test->files_;
      signer.make_certificate("client", one.shape);
      if (one.revoked) test->files_.revoke("client");
      theirs.write("client-cert.pem", signer.read("client-cert.pem"), 0644);
      theirs.write("client-key.pem", signer.read("client-key.pem"));
      TlsCredentialsReference client = x509(theirs, TlsEndpoint::kClient, {}, false);
      Pair pair = test->make(x509(test->files_, TlsEndpoint::kServer), client);
      co_await test->connect(pair);
      unlink(test->files_.file("ca-crl.pem").c_str());
      EXPECT_FALSE(pair.at_server.has_value()) << one.reason;
      if (!pair.at_server) EXPECT_EQ(pair.at_server.error().message(), std::string("Verify failed: ") + one.reason);
    }
  }(this));
}

// The log says which side refused the other.
TEST_P(TlsStreamTest, AFailureSaysWhoEndedIt) {
  run([](TlsStreamTest* test) -> Task<void> {
    CertificateDirectory strangers;
    // The client does not trust the server, and sends its alert after its part of the handshake.
    Pair pair = test->make(x509(test->files_, TlsEndpoint::kServer, {}, false), x509(strangers, TlsEndpoint::kClient));
    OwnedFd file(memfd_create("log", MFD_CLOEXEC));
    const Log log("test", file.get(), LogLevel::kDebug);
    pair.server->report_alerts(PeerLog(log, "peers"), "peer 7");
    co_await test->connect(pair);
    EXPECT_FALSE(pair.at_client.has_value());
    EXPECT_EQ(pair.client->ended_by(), TlsEnd::kUs);
    if (!pair.at_client) {
      EXPECT_TRUE(pair.client->describe_end("peer 8", pair.at_client.error()).starts_with("peer 8 refused: Verify "));
    }
    std::byte byte;
    while (pair.at_server) {
      const IoCount received = pair.server->try_receive({&byte, 1});
      EXPECT_FALSE(received && *received > 0);
      if (received || received.error() != Errno(EAGAIN)) break;
      (void)co_await pair.server->readable();
    }
    std::string said(4096, '\0');
    said.resize(static_cast<std::size_t>(pread(file.get(), said.data(), said.size(), 0)));
    EXPECT_TRUE(said.starts_with("test: warning: peer 7 refused our certificate: ")) << said;
    // The server refuses the client: the server ended the handshake.
    Pair refused =
        test->make(x509(test->files_, TlsEndpoint::kServer), x509(strangers, TlsEndpoint::kClient, {}, false));
    co_await test->connect(refused);
    EXPECT_FALSE(refused.at_server.has_value());
    EXPECT_EQ(refused.server->ended_by(), TlsEnd::kUs);
    // The peer has gone: neither side ended the handshake.
    Pair lonely = test->make_x509();
    lonely.client.reset();
    co_await test->shake(*lonely.server, lonely.at_server);
    EXPECT_FALSE(lonely.at_server.has_value());
    EXPECT_EQ(lonely.server->ended_by(), TlsEnd::kNobody);
    if (!lonely.at_server) {
      EXPECT_TRUE(
          lonely.server->describe_end("peer 9", lonely.at_server.error()).starts_with("peer 9 has gone before "));
    }
  }(this));
}

TEST_P(TlsStreamTest, AClientInsistsOnTheNameItWanted) {
  run([](TlsStreamTest* test) -> Task<void> {
    for (const char* host : {"localhost", "elsewhere"}) {
      Pair pair = test->make(x509(test->files_, TlsEndpoint::kServer), x509(test->files_, TlsEndpoint::kClient),
                             SIZE_MAX, host);
      co_await test->connect(pair);
      EXPECT_EQ(pair.at_client.has_value(), std::string(host) == "localhost") << host;
    }
  }(this));
}

TlsCredentialsReference shared_key(const CertificateDirectory& files, TlsEndpoint endpoint, const std::string& user) {
  TlsPskOptions options;
  options.directory = files.path();
  options.endpoint = endpoint;
  options.username = user;
  auto loaded = TlsPskCredentials::load(options);
  EXPECT_TRUE(loaded.has_value()) << (loaded ? "" : loaded.error().message());
  return *loaded;
}

TEST_P(TlsStreamTest, SharedKeysLetTheirUsersIn) {
  run([](TlsStreamTest* test) -> Task<void> {
    CertificateDirectory theirs;
    test->files_.write("keys.psk", "bob:00112233\nalice:0123456789abcdef\n");
    theirs.write("keys.psk", "alice:0123456789abcdef\nbob:ffffffff\nmallory:00112233\n");
    TlsCredentialsReference server = shared_key(test->files_, TlsEndpoint::kServer, "");
    for (const char* user : {"alice", "bob", "mallory"}) {
      Pair pair = test->make(server, shared_key(theirs, TlsEndpoint::kClient, user));
      co_await test->connect(pair);
      const bool right = std::string(user) == "alice";
      EXPECT_EQ(pair.at_server.has_value(), right) << user;
      if (!right) continue;
      EXPECT_EQ(*pair.at_server, "alice");
      co_await test->carry(*pair.server, *pair.client, 100'000);
    }
  }(this));
}

TEST_P(TlsStreamTest, NobodyNeedsANameForAnonymousConnections) {
  run([](TlsStreamTest* test) -> Task<void> {
    TlsOptions options{.endpoint = TlsEndpoint::kServer};
    auto server = TlsAnonymousCredentials::load(options);
    options.endpoint = TlsEndpoint::kClient;
    auto client = TlsAnonymousCredentials::load(options);
    Pair pair = test->make(*server, *client);
    co_await test->connect(pair);
    EXPECT_TRUE(pair.at_server && pair.at_server->empty());
    co_await test->carry(*pair.server, *pair.client, 100'000);
  }(this));
}

TEST_P(TlsStreamTest, ManySmallPiecesLeaveInFewSends) {
  run([](TlsStreamTest* test) -> Task<void> {
    Pair pair = test->make_x509();
    co_await test->connect(pair);
    std::vector<std::byte> bytes = pattern(64 * 100);
    std::vector<iovec> vectors;
    for (std::size_t i = 0; i < 64; ++i) vectors.push_back({.iov_base = bytes.data() + i * 100, .iov_len = 100});
    const std::size_t before = *test->sends_;
    IoCount sent = pair.server->try_send(vectors);
    EXPECT_EQ(sent.value_or(0), bytes.size());
    EXPECT_EQ(*test->sends_ - before, 1u);
    EXPECT_TRUE(co_await test->receive(*pair.client, bytes.size()) == bytes);
  }(this));
}

TEST_P(TlsStreamTest, WhoDoesNotReadHoldsUpTheSenderAndLosesNothing) {
  run([](TlsStreamTest* test) -> Task<void> {
    Pair pair = test->make_x509();
    co_await test->connect(pair);
    std::vector<std::byte> bytes = pattern(8u << 20);
    std::size_t taken = 0;
    for (;;) {
      iovec rest{.iov_base = bytes.data() + taken, .iov_len = bytes.size() - taken};
      IoCount sent = pair.server->try_send({&rest, 1});
      if (!sent) EXPECT_TRUE(sent.error() == Errno(EAGAIN));
      if (!sent) break;
      taken += *sent;
    }
    EXPECT_LT(taken, bytes.size());
    EXPECT_LE(pair.server->buffer_bytes(), 2 * kTlsOutputBytesMax + kTlsInputBytes);
    aio::Scope sender(test->reactor());
    sender.spawn("sender", test->send(*pair.server, std::span(bytes).subspan(taken)));
    EXPECT_TRUE(co_await test->receive(*pair.client, bytes.size()) == bytes);
    co_await sender.join();
  }(this));
}

TEST_P(TlsStreamTest, AnIdleStreamHoldsNoBuffers) {
  run([](TlsStreamTest* test) -> Task<void> {
    Pair pair = test->make_x509();
    co_await test->connect(pair);
    co_await test->carry(*pair.server, *pair.client, 1'000'000);
    co_await test->carry(*pair.client, *pair.server, 1'000'000);
    aio::Scope waiting(test->reactor());
    waiting.spawn("reader", [](Stream& stream) -> Task<void> {
      std::array<std::byte, 10> buffer;
      (void)co_await receive_some(stream, buffer);
    }(*pair.server));
    EXPECT_EQ(pair.server->buffer_bytes(), 0u);
    waiting.cancel();
    co_await waiting.join();
  }(this));
}

TEST_P(TlsStreamTest, AFarewellIsAnEndAndItsLackIsAnError) {
  run([](TlsStreamTest* test) -> Task<void> {
    std::array<std::byte, 10> buffer;
    Pair polite = test->make_x509();
    co_await test->connect(polite);
    polite.client->shut_down();
    EXPECT_EQ((co_await receive_some(*polite.server, buffer)).value_or(99), 0u);
    auto [left, right] = test->make_socket_pair();
    auto lower = test->socket(right);
    Stream* cut = lower.get();
    Pair rude;
    rude.server = std::make_unique<TlsStream>(test->socket(left), x509(test->files_, TlsEndpoint::kServer));
    rude.client = std::make_unique<TlsStream>(std::move(lower), x509(test->files_, TlsEndpoint::kClient));
    co_await test->connect(rude);
    cut->shut_down();
    EXPECT_FALSE((co_await receive_some(*rude.server, buffer)).has_value());
  }(this));
}

TEST_P(TlsStreamTest, ChangedBytesAreNoData) {
  run([](TlsStreamTest* test) -> Task<void> {
    Pair pair = test->make_x509();
    co_await test->connect(pair);
    *test->corrupt_from_ = *test->received_bytes_;
    std::vector<std::byte> bytes = pattern(1000);
    co_await test->send(*pair.client, bytes);
    std::array<std::byte, 1000> buffer;
    EXPECT_FALSE((co_await receive_some(*pair.server, buffer)).has_value());
    EXPECT_FALSE((co_await receive_some(*pair.server, buffer)).has_value());
  }(this));
}

// A client that closes after any number of bytes of the handshake.
TEST_P(TlsStreamTest, AHandshakeMayEndAnywhere) {
  run([](TlsStreamTest* test) -> Task<void> {
    TlsCredentialsReference credentials = x509(test->files_, TlsEndpoint::kServer);
    for (std::size_t bytes = 0; bytes < 400; bytes += 7) {
      auto [left, right] = test->make_socket_pair();
      TlsStream server(test->socket(left), credentials);
      auto client = test->socket(right);
      std::vector<std::byte> hello = pattern(bytes);
      // The header of a handshake record of 512 bytes.
      const std::array<std::uint8_t, 5> header{0x16, 0x03, 0x01, 0x02, 0x00};
      for (std::size_t i = 0; i < std::min(bytes, header.size()); ++i) hello[i] = static_cast<std::byte>(header[i]);
      co_await test->send(*client, hello);
      client->shut_down();
      Result<std::string> outcome = std::string();
      co_await test->shake(server, outcome);
      EXPECT_FALSE(outcome.has_value());
    }
  }(this));
}

TEST_P(TlsStreamTest, GarbageIsNoHandshake) {
  run([](TlsStreamTest* test) -> Task<void> {
    TlsCredentialsReference credentials = x509(test->files_, TlsEndpoint::kServer);
    for (std::size_t seed = 0; seed < 20; ++seed) {
      auto [left, right] = test->make_socket_pair();
      TlsStream server(test->socket(left), credentials);
      auto client = test->socket(right);
      std::vector<std::byte> garbage = pattern(2000);
      for (std::size_t i = 0; i < garbage.size(); ++i) garbage[i] ^= static_cast<std::byte>(seed * 31 + i % (seed + 2));
      co_await test->send(*client, garbage);
      client->shut_down();
      Result<std::string> outcome = std::string();
      co_await test->shake(server, outcome);
      EXPECT_FALSE(outcome.has_value()) << seed;
    }
  }(this));
}

TEST_P(TlsStreamTest, ASilentPeerIsLeftAtTheDeadline) {
  run([](TlsStreamTest* test) -> Task<void> {
    auto [left, right] = test->make_socket_pair();
    TlsStream server(test->socket(left), x509(test->files_, TlsEndpoint::kServer));
    auto silent = test->socket(right);
    const std::uint64_t began_ns = test->reactor().now_ns();
    Result<std::string> outcome = co_await server.handshake(test->reactor(), began_ns + 50'000'000);
    EXPECT_FALSE(outcome.has_value());
    if (!outcome) EXPECT_EQ(outcome.error().message(), "TLS handshake failed: it took too long");
    EXPECT_GE(test->reactor().now_ns(), began_ns + 50'000'000);
  }(this));
}

// Sends until its peer hangs up.
Task<void> send_without_end(Stream& stream) {
  const std::vector<std::byte> bytes = pattern(64u << 10);
  while (co_await send_all(stream, bytes)) continue;
}

TEST_P(TlsStreamTest, ARefusedPeerThatGoesOnSendingIsReadUpToTheLimit) {
  run([](TlsStreamTest* test) -> Task<void> {
    Pair pair = test->make_x509();
    co_await test->connect(pair);
    const std::size_t before = *test->received_bytes_;
    aio::Scope sending(test->reactor());
    sending.spawn("sender", send_without_end(*pair.client));
    co_await pair.server->refuse(test->reactor());
    const std::size_t received = *test->received_bytes_ - before;
    EXPECT_LE(received, kTlsLingerBytesMax + kTlsInputBytes);
    // On a real backend the time limit may end it earlier.
    if (test->simulated()) EXPECT_GE(received, kTlsLingerBytesMax);
    pair.server->shut_down();
    co_await sending.join();
  }(this));
}

TEST_P(TlsStreamTest, KeysMayBeChangedOnTheWay) {
  run([](TlsStreamTest* test) -> Task<void> {
    Pair pair = test->make_x509();
    co_await test->connect(pair);
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(pair.client->update_keys().has_value());
      co_await test->carry(*pair.client, *pair.server, 50'000);
      co_await test->carry(*pair.server, *pair.client, 50'000);
    }
  }(this));
}

// In TLS 1.3, GnuTLS treats every alert as fatal, and accepts at most eight key updates per second.
constexpr const char* kVersionWithWarnings = "NORMAL:-VERS-ALL:+VERS-TLS1.2";

// The server's result of receiving one byte that the client sends after so many warnings.
Task<IoCount> receive_behind_warnings(TlsStreamTest::Pair& pair, unsigned warnings) {
  for (unsigned i = 0; i < warnings; ++i) EXPECT_TRUE(pair.client->send_warning());
  std::byte byte{1};
  const iovec vector{.iov_base = &byte, .iov_len = 1};
  EXPECT_EQ(pair.client->try_send({&vector, 1}), 1u);
  std::array<std::byte, 10> buffer;
  co_return co_await receive_some(*pair.server, buffer);
}

TEST_P(TlsStreamTest, BetweenTwoPiecesOfDataComeSoManyWarningsAndNoMore) {
  run([](TlsStreamTest* test) -> Task<void> {
    Pair pair = test->make(x509(test->files_, TlsEndpoint::kServer),
                           x509(test->files_, TlsEndpoint::kClient, kVersionWithWarnings));
    co_await test->connect(pair);
    EXPECT_TRUE(pair.at_server.has_value());
    if (!pair.at_server) co_return;
    // Data resets the count.
    for (int i = 0; i < 3; ++i) EXPECT_EQ(co_await receive_behind_warnings(pair, kTlsIdleRecordsMax), 1u);
    EXPECT_EQ(co_await receive_behind_warnings(pair, kTlsIdleRecordsMax + 1), IoCount(fail(ECONNRESET)));
  }(this));
}

TEST_P(TlsStreamTest, NothingIsTakenOrGivenBeforeTheHandshake) {
  run([](TlsStreamTest* test) -> Task<void> {
    Pair pair = test->make_x509();
    std::array<std::byte, 10> buffer{};
    iovec vector{.iov_base = buffer.data(), .iov_len = buffer.size()};
    EXPECT_TRUE(pair.server->try_receive(buffer).error() == Errno(ENOTCONN));
    EXPECT_TRUE(pair.server->try_send({&vector, 1}).error() == Errno(ENOTCONN));
    co_return;
  }(this));
}

}  // namespace
}  // namespace blockexport::net
