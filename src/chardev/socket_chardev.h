// SocketChardev: a listening socket that serves one peer after another, or a socket that connects to a peer. Thread:
// the control reactor's.
#pragma once

#include "base/lasting_condition.h"
#include "chardev/chardev.h"
#include "net/listen.h"
#include "net/tls_stream.h"

namespace blockexport::chardev {

// Deadline of a peer's TLS handshake.
inline constexpr std::uint64_t kTlsHandshakeMaxNs = 10'000'000'000;

class SocketChardev final : public Chardev {
 public:
  // Listens, or connects for the first time (with reconnect_ms set, a failure of that is no error).
  static aio::Task<Result<std::unique_ptr<Chardev>>> open(aio::Reactor& reactor, const Log& log, std::string label,
                                                          SocketOptions options);

  std::string_view kind() const override { return "socket"; }
  std::string filename() const override;
  std::optional<net::SocketAddress> address() const override;
  bool is_connected() const override { return connected_; }
  aio::Task<std::expected<std::unique_ptr<net::Stream>, Errno>> next_stream() override;
  void stream_closed() override { connected_ = false; }
  aio::Task<Result<>> wait_for_peer() override;
  void settle() override;

 private:
  SocketChardev(aio::Reactor& reactor, const Log& log, std::string label, SocketOptions options)
      : Chardev(std::move(label)),
        reactor_(reactor),
        log_(log),
        options_(std::move(options)),
        accept_refusal_(log),
        call_refusal_(log) {}
  aio::Task<std::expected<std::unique_ptr<net::Stream>, Errno>> accept_peer();
  // Returns `stream`, or TLS over it when this chardev uses TLS. Errors: a log line about a refused peer, which `who`
  // names. `log` is for later alerts of the peer.
  aio::Task<Result<std::unique_ptr<net::Stream>>> secure(std::unique_ptr<net::Stream> stream, std::string who,
                                                         PeerLog log);
  aio::Task<std::unique_ptr<net::Stream>> secure_call(int fd);
  void warn_of_public_address() const;
  void call_failed(std::string_view line);
  aio::Task<Result<>> shake_hands(net::TlsStream& stream, std::string who, PeerLog log);
  aio::Task<std::expected<std::unique_ptr<net::Stream>, Errno>> call_peer();

  aio::Reactor& reactor_;
  const Log& log_;
  SocketOptions options_;
  net::SocketAddress peer_;          // the address to which it connects, with an absolute path
  LastingCondition accept_refusal_;  // accept(2) fails
  LastingCondition call_refusal_;    // connections to the peer fail
  std::unique_ptr<net::Listener> listener_;
  std::unique_ptr<net::Stream> first_;     // a peer that connected before the frontend called next_stream()
  std::optional<std::string> connection_;  // name of the last peer's TCP connection
  bool called_ = false;
  bool connected_ = false;
};

}  // namespace blockexport::chardev
