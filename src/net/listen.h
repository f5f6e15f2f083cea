// Listener: the listening sockets of one address. A host name with several addresses gets one socket for each.
//
// Owned by the server that accepts from it. Closing removes the unix socket's path if it still is ours.
// Thread: its reactor's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aio/reactor.h"
#include "base/error.h"
#include "base/owned_fd.h"
#include "net/address.h"
#include "net/resolve.h"
#include "net/unix_socket_file.h"

namespace blockexport::net {

// A connection just accepted.
struct Accepted {
  OwnedFd fd;                           // non-blocking, close-on-exec
  NumericAddress peer;                  // its address; a unix peer has none
  std::uint32_t peer_uid = UINT32_MAX;  // of a unix peer (SO_PEERCRED)
};

// How long whoever accepts pauses when the process has no descriptors or memory left.
inline constexpr std::uint64_t kAcceptPauseNs = 100'000'000;

class Listener {
 public:
  // Errors are sentences with the address: see docs/compatibility.md for those that scripts know. What is at a unix
  // path gives way as UnixSocketFile says. An address that is taken
  // is a busy error.
  static aio::Task<Result<std::unique_ptr<Listener>>> open(aio::Reactor& reactor, SocketAddress address,
                                                           int backlog = SOMAXCONN);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // A sentence for the log when somebody else listens at the unix path and had to give way.
  std::optional<std::string> takeover() const;
  // It serves from now on: whoever had its unix path does not get it back.
  void settle();
  // The unix path stays where it is when the sockets are closed.
  void keep_path();

  // One socket for each index in [0, socket_count()).
  std::size_t socket_count() const { return sockets_.size(); }
  // The bound address, with the port that the kernel chose.
  NumericAddress local_address(std::size_t index) const;

  // The first of the bound addresses that other machines can reach: of IPv4 or IPv6, and no loopback one.
  std::optional<NumericAddress> public_address() const;

  // Waits for a connection on one socket. ECANCELED when the task is cancelled; EMFILE and its kind are returned for
  // the caller to pause; a connection that broke while it waited is skipped.
  aio::Task<std::expected<Accepted, Errno>> accept(std::size_t index);

  // Closes the sockets; nobody may be waiting in accept().
  void close();

  const SocketAddress& address() const { return address_; }

 private:
  // A listening socket, and an epoll descriptor that is readable while a connection waits at it.
  struct Socket {
    OwnedFd listening;
    OwnedFd readiness;
  };

  Listener(aio::Reactor& reactor, SocketAddress address) : reactor_(reactor), address_(std::move(address)) {}
  Result<> add(OwnedFd listening);
  // The epoll descriptor of a socket that listens, or will.
  static Result<OwnedFd> watch(int socket);
  Result<> listen_unix(const UnixAddress& address, int backlog);
  Result<> listen_vsock(const VsockAddress& address, int backlog);
  Result<> listen_fd(const FdAddress& address, int backlog);
  aio::Task<Result<>> listen_inet(InetAddress address, int backlog);

  aio::Reactor& reactor_;
  SocketAddress address_;
  std::vector<Socket> sockets_;
  std::optional<UnixSocketFile> file_;
};

// Bytes that a unix connection may have on their way to a slow reader: a large reply then takes one send, not five.
inline constexpr int kUnixSendBufferBytes = 1 << 20;

// Sets what every connection wants: a send buffer of kUnixSendBufferBytes on a unix socket (TCP sizes its own),
// TCP_NODELAY. Does nothing to other families.
void tune_connection(int fd, int family);

// The same when it sends from files: pages of the page cache then, which cost no memory of their own, so that several
// large replies may be on their way.
inline constexpr int kUnixFileBufferBytes = 4 << 20;

// Sets a send buffer of kUnixFileBufferBytes, or what the system allows, on a unix socket.
void tune_for_files(int fd);

}  // namespace blockexport::net
