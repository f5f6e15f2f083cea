#include "chardev/socket_chardev.h"

#include <fmt/format.h>

#include "base/absolute_path.h"
#include "base/peer_log.h"
#include "chardev/socket_names.h"
#include "net/connect.h"
#include "net/peer_group.h"
#include "net/socket_stream.h"

namespace blockexport::chardev {
namespace {

using OptionalStream = std::expected<std::unique_ptr<net::Stream>, Errno>;

constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
// Length of the queue in which further clients wait.
constexpr int kBacklog = 1;

// The address with an absolute unix path, which stays valid when the working directory changes.
net::SocketAddress from_everywhere(net::SocketAddress address) {
  auto* local = std::get_if<net::UnixAddress>(&address);
  // A path that is too long even if relative never works.
  const bool has_path = local != nullptr && !local->abstract && net::unix_address(*local);
  if (has_path) local->path = absolute_path(local->path);
  return address;
}

}  // namespace

aio::Task<Result<std::unique_ptr<Chardev>>> SocketChardev::open(aio::Reactor& reactor, const Log& log,
                                                                std::string label, SocketOptions options) {
  std::unique_ptr<SocketChardev> chardev(new SocketChardev(reactor, log, std::move(label), std::move(options)));
  if (chardev->options_.server) {
    CO_TRY_ASSIGN(chardev->listener_, co_await net::Listener::open(reactor, chardev->options_.address, kBacklog));
    if (auto takeover = chardev->listener_->takeover()) log.warning(*takeover);
    if (!chardev->options_.tls) chardev->warn_of_public_address();
    if (chardev->options_.wait) CO_TRY(co_await chardev->wait_for_peer());
  } else {
    chardev->peer_ = from_everywhere(chardev->options_.address);
    auto fd = co_await net::connect(reactor, chardev->options_.address);
    if (fd) {
      chardev->connection_ = connection_name(fd->get(), false);
      chardev->first_ = co_await chardev->secure_call(fd->release());
      chardev->connected_ = chardev->first_ != nullptr;
    } else if (chardev->options_.reconnect_ms == 0) {
      co_return fail(std::move(fd).error());
    } else {
      chardev->call_failed(fmt::format("chardev '{}': {}", chardev->label(), fd.error().message()));
    }
    chardev->called_ = true;
  }
  co_return std::unique_ptr<Chardev>(std::move(chardev));
}

void SocketChardev::settle() {
  if (listener_) listener_->settle();
}

std::string SocketChardev::filename() const {
  if (connected_ && connection_) return *connection_;
  return (connected_ ? "" : "disconnected:") + socket_name(*address(), options_.server);
}

std::optional<net::SocketAddress> SocketChardev::address() const {
  // The kernel may have chosen the port.
  bool listens = listener_ != nullptr && std::holds_alternative<net::InetAddress>(options_.address);
  return listens ? inet_address(listener_->local_address(0)) : options_.address;
}

void SocketChardev::warn_of_public_address() const {
  const auto address = listener_->public_address();
  if (!address) return;
  log_.warning(
      fmt::format("chardev '{}' listens on {} without TLS: everybody who can reach that address can use what is behind "
                  "it, as a monitor, which can do all that this process can. Give it tls-creds, or an address of this "
                  "machine alone",
                  label(), net::describe(*address)));
}

aio::Task<Result<>> SocketChardev::wait_for_peer() {
  log_.info(fmt::format("QEMU waiting for connection on: {}", filename()));
  auto stream = co_await accept_peer();
  if (!stream) co_return fail(Error::system("Unable to wait for a connection", stream.error()));
  first_ = std::move(*stream);
  co_return Result<>{};
}

aio::Task<OptionalStream> SocketChardev::next_stream() {
  if (first_) co_return std::move(first_);
  if (options_.server) co_return co_await accept_peer();
  co_return co_await call_peer();
}

aio::Task<OptionalStream> SocketChardev::accept_peer() {
  for (;;) {
    // With a host name of several addresses, only the first one is served.
    auto accepted = co_await listener_->accept(0);
    if (accepted) {
      if (accept_refusal_.is_on()) {
        accept_refusal_.ended(fmt::format("chardev '{}': clients are accepted again", label()));
      }
      connection_ = connection_name(accepted->fd.get(), true);
      const PeerLog log(log_, net::describe(net::peer_group_of(accepted->peer, accepted->peer_uid)));
      std::string who = fmt::format("chardev '{}': peer {}", label(), net::describe(accepted->peer));
      auto plain = std::make_unique<net::SocketStream>(reactor_, accepted->fd.release());
      auto stream = co_await secure(std::move(plain), std::move(who), log);
      if (stream) {
        connected_ = true;
        co_return std::move(*stream);
      }
      log.warning(stream.error().message());
      continue;
    }
    if (accepted.error() == Errno(ECANCELED)) co_return fail(ECANCELED);
    accept_refusal_.happened(fmt::format("chardev '{}': cannot accept clients on {}: {}", label(),
                                         net::describe(options_.address), errno_text(accepted.error())));
    CO_TRY(co_await reactor_.sleep_until(reactor_.now_ns() + net::kAcceptPauseNs));
  }
}

aio::Task<OptionalStream> SocketChardev::call_peer() {
  for (;;) {
    if (called_ && options_.reconnect_ms == 0) co_return fail(ENOTCONN);
    if (called_) {
      CO_TRY(co_await reactor_.sleep_until(reactor_.now_ns() + options_.reconnect_ms * kNanosecondsPerMillisecond));
    }
    called_ = true;
    const auto* local = std::get_if<net::UnixAddress>(&options_.address);
    auto fd = co_await net::connect(reactor_, peer_, local != nullptr ? local->path : std::string());
    if (!fd) {
      call_failed(fmt::format("chardev '{}': {}", label(), fd.error().message()));
      continue;
    }
    connection_ = connection_name(fd->get(), false);
    auto secured = co_await secure_call(fd->release());
    if (secured == nullptr) continue;
    connected_ = true;
    co_return secured;
  }
}

void SocketChardev::call_failed(std::string_view line) {
  call_refusal_.happened(std::string(line));
}

// Returns a stream over the outgoing connection `fd`; null when the TLS handshake fails, which is logged.
aio::Task<std::unique_ptr<net::Stream>> SocketChardev::secure_call(int fd) {
  const std::string peer = net::describe(options_.address);
  auto stream = std::make_unique<net::SocketStream>(reactor_, fd);
  auto secured =
      co_await secure(std::move(stream), fmt::format("chardev '{}': peer {}", label(), peer), PeerLog(log_, peer));
  if (!secured) {
    call_failed(secured.error().message());
    co_return nullptr;
  }
  if (call_refusal_.is_on()) {
    call_refusal_.ended(fmt::format("chardev '{}': connected to {}", label(), net::describe(options_.address)));
  }
  co_return std::move(*secured);
}

aio::Task<Result<std::unique_ptr<net::Stream>>> SocketChardev::secure(std::unique_ptr<net::Stream> stream,
                                                                      std::string who, PeerLog log) {
  if (!options_.tls) co_return std::move(stream);
  const auto endpoint = options_.server ? net::TlsEndpoint::kServer : net::TlsEndpoint::kClient;
  auto credentials = options_.tls->credentials->find(options_.tls->credentials_id, endpoint);
  if (!credentials) co_return fail(fmt::format("{} refused: {}", who, credentials.error().message()));
  const auto* inet = std::get_if<net::InetAddress>(&options_.address);
  std::string host = inet != nullptr && !options_.server ? inet->host : std::string();
  auto secured = std::make_unique<net::TlsStream>(std::move(stream), std::move(*credentials), std::move(host));
  Result<> agreed = co_await shake_hands(*secured, std::move(who), std::move(log));
  if (agreed) co_return std::move(secured);
  secured->shut_down();
  co_return fail(std::move(agreed).error());
}

aio::Task<Result<>> SocketChardev::shake_hands(net::TlsStream& stream, std::string who, PeerLog log) {
  auto identity = co_await stream.handshake(reactor_, reactor_.now_ns() + kTlsHandshakeMaxNs);
  if (!identity) co_return fail(stream.describe_end(who, identity.error()));
  stream.report_alerts(std::move(log), who);
  if (!options_.tls->authorizer_id) co_return Result<>{};
  const std::string& authorizer = *options_.tls->authorizer_id;
  authz::Verdict verdict = co_await authz::authorize(*options_.tls->authorizers, authorizer, *identity);
  if (verdict.allowed) co_return Result<>{};
  co_await stream.refuse(reactor_);
  const std::string rule =
      fmt::format("{} of tls-authz '{}'", verdict.rule.empty() ? "nothing" : verdict.rule, authorizer);
  co_return fail(fmt::format("{} refused: {}", who, authz::describe_refusal(*identity, rule, verdict.reason)));
}

}  // namespace blockexport::chardev
