// SocketChardev: a listening socket that serves one peer after another, or a socket that calls a peer.
#pragma once

#include "base/lasting_condition.h"
#include "chardev/chardev.h"
#include "net/listen.h"
#include "net/tls_stream.h"

namespace blockexport::chardev {

// Time for the TLS handshake of a peer.
inline constexpr std::uint64_t kTlsHandshakeMaxNs = 10'000'000'000;

class SocketChardev final : public Chardev {
 public:
  // Listens, or makes the first call (with reconnect_ms set a first call that fails is no error).
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
  // TLS over a stream, when this chardev has it. Errors: a line for the log about a peer that is not let in, whom `who`
  // names. `log` is for what the peer says later.
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
  net::SocketAddress peer_;          // whom it calls: a path is absolute
  LastingCondition accept_refusal_;  // nobody can be accepted
  LastingCondition call_refusal_;    // the peer cannot be reached
  std::unique_ptr<net::Listener> listener_;
  std::unique_ptr<net::Stream> first_;     // a peer that came before the frontend asked
  std::optional<std::string> connection_;  // of the last peer, over TCP
  bool called_ = false;
  bool connected_ = false;
};

}  // namespace blockexport::chardev
