// Channel: a connected stream socket (unix or TCP), plain or with TLS: exact, blocking reads and writes for code that
// is not timed, batched calls for the timed loops.
//
// Owns the descriptor. Thread: one owner. Every blocking call has the time limit kPatienceSeconds; exceeding it is
// fatal.
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

// Address of a server: a unix socket path, or a TCP port of the loopback address when `path` is empty.
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

  // False when the peer closed or reset the connection; fatal when it sends nothing for kPatienceSeconds.
  [[nodiscard]] bool read_exactly(std::span<std::byte> into);
  [[nodiscard]] bool write_all(std::span<const std::byte> from);

  // Performs a TLS handshake; further data is encrypted. False when the handshake failed.
  [[nodiscard]] bool secure(const TlsCredentials& credentials);
  // Empty while the channel is plain.
  std::string cipher() const { return tls_ ? tls_->cipher() : std::string(); }

  // Like recv(): returns the available bytes, and waits for the first one only if `wait`. If holds_more(), call it
  // again without waiting.
  ssize_t receive(std::span<std::byte> into, bool wait);
  bool holds_more() const { return tls_ && tls_->holds_more(); }

  // Sends bytes from the front of `pieces` as far as the socket accepts them without blocking; returns their number, or
  // -1 when the connection is broken. With TLS it takes all bytes and buffers the unsent ones: has_unsent().
  ssize_t send_pieces(std::span<const iovec> pieces);
  bool has_unsent() const { return tls_ && tls_->has_unsent(); }

 private:
  int fd_;
  std::unique_ptr<TlsLink> tls_;
};

// Returns a listening socket; a failure is fatal. Replaces an existing socket file.
int listen_on(const Address& address);

}  // namespace blockexport::bench
