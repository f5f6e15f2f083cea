// Channel: a connected stream socket (unix or TCP), plain or under TLS: exact, blocking reads and writes for everything
// that is not timed, batched calls for the timed loops.
//
// Owns the descriptor.
// Thread: one owner. Every blocking call is bounded by kPatience; running out is fatal.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "common/tls.h"

namespace blockexport::bench {

// Where a server listens: a unix socket path, or a TCP port of the loopback address when `path` is empty.
struct Address {
  std::string path;
  uint16_t port = 0;
};

class Channel {
 public:
  static constexpr int kPatienceSeconds = 20;

  explicit Channel(int fd) : fd_(fd) {}
  Channel(Channel&& other) noexcept : fd_(std::exchange(other.fd_, -1)), tls_(std::move(other.tls_)) {}
  Channel& operator=(Channel&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(tls_, other.tls_);
    return *this;
  }
  ~Channel();

  // A connected channel; `good()` is false with errno set if the server does not listen (yet).
  static Channel connect_to(const Address& address);

  bool good() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  // False when the peer closed or reset the connection; fatal when it says nothing for kPatienceSeconds.
  [[nodiscard]] bool read_exactly(std::span<std::byte> into);
  [[nodiscard]] bool write_all(std::span<const std::byte> from);

  // From now on everything goes through TLS. False when the handshake failed.
  [[nodiscard]] bool secure(const TlsCredentials& credentials);
  // Empty while the channel is plain.
  std::string cipher() const { return tls_ ? tls_->cipher() : std::string(); }

  // As recv(): what is there, waiting for the first byte only if `wait`. holds_more(): call again, without waiting.
  ssize_t receive(std::span<std::byte> into, bool wait);
  bool holds_more() const { return tls_ && tls_->holds_more(); }

  // Takes bytes off the front of `pieces` as far as the socket does without blocking; the number taken, or -1 when the
  // connection is broken. Under TLS all are taken and wait in the channel: has_unsent().
  ssize_t send_pieces(std::span<const iovec> pieces);
  bool has_unsent() const { return tls_ && tls_->has_unsent(); }

 private:
  int fd_;
  std::unique_ptr<TlsLink> tls_;
};

// A listening socket; fatal if it can not be had. An existing socket file is replaced.
int listen_on(const Address& address);

}  // namespace blockexport::bench
