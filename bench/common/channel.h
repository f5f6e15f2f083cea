// Channel: a connected stream socket (unix or TCP) with exact, blocking reads and writes for everything that is not
// timed.
//
// Owns the descriptor. The timed loops take fd() and do their own batched calls on it.
// Thread: one owner. Every blocking call is bounded by kPatience; running out is fatal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

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
  Channel(Channel&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Channel& operator=(Channel&& other) noexcept {
    std::swap(fd_, other.fd_);
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

 private:
  int fd_;
};

// A listening socket; fatal if it can not be had. An existing socket file is replaced.
int listen_on(const Address& address);

}  // namespace blockexport::bench
