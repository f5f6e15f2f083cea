// TlsCredentials and TlsLink: one side of TLS, over GnuTLS: a client's for everything that a Channel sends and
// receives, a server's for a control.
//
// A link takes the socket's bytes in large pieces and hands out the plain bytes of all records in them, so that TLS
// costs the load generator as few system calls as plain sockets do. The server's certificate is not checked: it is the
// benchmark's own, and checking would add the client's arithmetic to every handshake.
// Thread: credentials are only read once built; a link has one owner. Neither closes the socket.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace blockexport::bench {

enum class TlsKind { kX509, kPsk };
enum class TlsSide { kClient, kServer };

class TlsCredentials {
 public:
  // `path`: the folder with ca-cert.pem, or a server's with server-cert.pem and server-key.pem (kX509), or a file of
  // `user:hexkey` lines, of which a client uses the first (kPsk). `priority`: a GnuTLS priority string; empty is a
  // client's default for the kind, and for a server what costs it least. Anything wrong is fatal.
  static std::shared_ptr<const TlsCredentials> load(TlsSide side, TlsKind kind, const std::string& path,
                                                    const std::string& priority);

  virtual ~TlsCredentials() = default;
};

class TlsLink {
 public:
  // Nothing is said until handshake(). `fd` is borrowed.
  TlsLink(int fd, const TlsCredentials& credentials);
  TlsLink(const TlsLink&) = delete;
  TlsLink& operator=(const TlsLink&) = delete;
  ~TlsLink();

  // Blocks. False when the server closed the connection or refused.
  [[nodiscard]] bool handshake();

  // What was agreed on, as in "TLS1.3 AES-256-GCM".
  std::string cipher() const;

  // As recv(): plain bytes, 0 at the end, -1 with errno. Blocks for the first byte only if `wait`.
  ssize_t receive(std::span<std::byte> into, bool wait);

  // Received already, but not handed out because `into` was full.
  bool holds_more() const;

  // Packs the pieces into full records and keeps these for send_some().
  void encrypt(std::span<const iovec> pieces);

  // The same, but each piece begins a record of its own, which saves the copy that packing takes.
  void encrypt_apart(std::span<const iovec> pieces);

  // Sends what the socket takes; blocks until all is sent if `wait`. False when the connection is broken.
  [[nodiscard]] bool send_some(bool wait);
  bool has_unsent() const;

  // Tells the server that nothing more comes, as far as the socket takes it now.
  void say_goodbye();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace blockexport::bench
