// Listener: the listening sockets of one address; a host name with several addresses gets one socket for each.
//
// Owned by the server that accepts from it. close() removes the unix socket's path if it is still ours. Thread: its
// reactor's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "aio/reactor/reactor.h"
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
  std::uint32_t peer_uid = UINT32_MAX;  // user of a unix peer (SO_PEERCRED)
};

// Pause of an accepting task when the process has no descriptors or memory left.
inline constexpr std::uint64_t kAcceptPauseNs = 100'000'000;

class Listener {
 public:
  // Begins to listen. Errors are sentences with the address; docs/compatibility.md lists those that scripts match.
  // UnixSocketFile describes when an existing file at a unix path is replaced; `path_in_use` says whether a socket on
  // which a process listens is. The error of an address in use is busy.
  static aio::Task<Result<std::unique_ptr<Listener>>> open(aio::Reactor& reactor, SocketAddress address,
                                                           int backlog = SOMAXCONN,
                                                           PathInUse path_in_use = PathInUse::kTakenOver);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // A sentence for the log when this listener has replaced a listening socket at the unix path.
  std::optional<std::string> takeover() const;
  // Makes the replacement of another socket at the unix path final. Call it once the daemon serves.
  void settle();
  // Keeps the unix path when the sockets are closed.
  void keep_path();

  // The number of sockets; their indexes are [0, socket_count()).
  std::size_t socket_count() const { return sockets_.size(); }
  // The bound address, with the port that the kernel chose when it was 0.
  NumericAddress local_address(std::size_t index) const;

  // The absolute path of its unix socket; empty when it has no path, or inherited the socket.
  std::string_view unix_path() const { return file_ ? std::string_view(file_->path()) : std::string_view(); }

  // The first bound address that other machines can reach: IPv4 or IPv6, and not loopback.
  std::optional<NumericAddress> public_address() const;

  // Waits for a connection on one socket. ECANCELED when the task is cancelled; on EMFILE and similar errors the caller
  // pauses; a connection that broke in the queue is skipped.
  aio::Task<std::expected<Accepted, Errno>> accept(std::size_t index);

  // Closes the sockets; nobody may be waiting in accept().
  void close();

  const SocketAddress& address() const { return address_; }

 private:
  // A listening socket, and an epoll descriptor that is readable while a connection waits in its queue.
  struct Socket {
    OwnedFd listening;
    OwnedFd readiness;
  };

  Listener(aio::Reactor& reactor, SocketAddress address) : reactor_(reactor), address_(std::move(address)) {}
  Result<> add(OwnedFd listening);
  // Creates the epoll descriptor of a socket that listens or will listen.
  static Result<OwnedFd> watch(int socket);
  Result<> listen_unix(const UnixAddress& address, int backlog, PathInUse path_in_use);
  Result<> listen_vsock(const VsockAddress& address, int backlog);
  Result<> listen_fd(const FdAddress& address, int backlog);
  aio::Task<Result<>> listen_inet(InetAddress address, int backlog);

  aio::Reactor& reactor_;
  SocketAddress address_;
  std::vector<Socket> sockets_;
  std::optional<UnixSocketFile> file_;
};

// Send buffer of a unix connection, in bytes: a large reply then takes one send, not five.
inline constexpr int kUnixSendBufferBytes = 1 << 20;

// Sets the options of every connection: a send buffer of kUnixSendBufferBytes on a unix socket (TCP sizes its own),
// TCP_NODELAY on TCP. Does nothing for other families.
void tune_connection(int fd, int family);

// Send buffer of a unix connection that sends from files: it then holds pages of the page cache, which take no extra
// memory, so several large replies may be in transit.
inline constexpr int kUnixFileBufferBytes = 4 << 20;

// Sets a send buffer of kUnixFileBufferBytes, or the system's maximum, on a unix socket.
void tune_for_files(int fd);

}  // namespace blockexport::net
