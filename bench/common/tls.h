// TlsCredentials and TlsLink: TLS over GnuTLS for a Channel (client) and for a control (server).
//
// A link reads the socket in large pieces and returns the plain bytes of all their records, so that TLS costs the load
// generator as few system calls as plain sockets do. The server's certificate is not checked: it is the benchmark's
// own, and a check would add client CPU time to every handshake. Thread: credentials are constant once built; a link
// has one owner. Neither closes the socket.
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
  // `path`: a folder with ca-cert.pem, and for a server with server-cert.pem and server-key.pem (kX509), or a file of
  // `user:hexkey` lines, of which a client uses the first (kPsk). `priority`: a GnuTLS priority string; empty: the
  // default for a client of this kind, or the cheapest for a server. Every error is fatal.
  static std::shared_ptr<const TlsCredentials> load(TlsSide side, TlsKind kind, const std::string& path,
                                                    const std::string& priority);

  virtual ~TlsCredentials() = default;
};

class TlsLink {
 public:
  // Sends nothing until handshake(). `fd` is borrowed.
  TlsLink(int fd, const TlsCredentials& credentials);
  TlsLink(const TlsLink&) = delete;
  TlsLink& operator=(const TlsLink&) = delete;
  ~TlsLink();

  // Blocks. False when the server closed the connection or refused.
  [[nodiscard]] bool handshake();

  // The negotiated version and cipher, for example "TLS1.3 AES-256-GCM".
  std::string cipher() const;

  // Like recv(): returns plain bytes; 0 at the end, -1 with errno. Blocks for the first byte only if `wait`.
  ssize_t receive(std::span<std::byte> into, bool wait);

  // True if decrypted bytes are left because `into` was full.
  bool holds_more() const;

  // Encrypts the pieces into full records, and buffers these for send_some().
  void encrypt(std::span<const iovec> pieces);

  // The same, but each piece begins a new record, which saves a copy.
  void encrypt_apart(std::span<const iovec> pieces);

  // Sends as much as the socket accepts; blocks until all is sent if `wait`. False when the connection is broken.
  [[nodiscard]] bool send_some(bool wait);
  bool has_unsent() const;

  // Sends close_notify, if the socket accepts it now.
  void send_close_notify();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace blockexport::bench
