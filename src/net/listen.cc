#include "net/listen.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstring>

#include "net/keep_alive.h"

namespace blockexport::net {
namespace {

constexpr int kSocketFlags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

void set_flag(int fd, int level, int option) {
  int on = 1;
  setsockopt(fd, level, option, &on, sizeof on);
}

void set_port(NumericAddress& address, std::uint16_t port) {
  if (address.family() == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port = htons(port);
  }
}

std::uint16_t port_of(const NumericAddress& address) {
  if (address.family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port);
}

// Returns an inet socket that listens on the first free port from the address's port to `last_port`, with the
// keep-alive that its connections inherit. EADDRINUSE when none is free.
std::expected<OwnedFd, Errno> listen_on_port(NumericAddress address, std::uint32_t last_port, int protocol, int backlog,
                                             const KeepAlive& keep_alive) {
  for (std::uint32_t port = port_of(address); port <= last_port; ++port) {
    OwnedFd fd(socket(address.family(), kSocketFlags, protocol));
    if (!fd) return fail(Errno::last());
    set_flag(fd.get(), SOL_SOCKET, SO_REUSEADDR);
    // Each family has its own socket, so that both can have the port.
    if (address.family() == AF_INET6) set_flag(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY);
    set_keep_alive(fd.get(), keep_alive);
    set_port(address, static_cast<std::uint16_t>(port));
    if (bind(fd.get(), address.get(), address.length) == 0 && ::listen(fd.get(), backlog) == 0) return fd;
    if (errno != EADDRINUSE) return fail(Errno::last());
  }
  return fail(EADDRINUSE);
}

std::uint32_t uid_of_peer(int fd) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return UINT32_MAX;
  return credentials.uid;
}

// True if the error of accept(2) concerns the new connection rather than the listener.
bool connection_broke(Errno error) {
  switch (error.value()) {
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

// Hint with the addresses and the cause, which the error's message (QSD's text) does not contain.
std::string why_not(const InetAddress& address, const std::vector<NumericAddress>& candidates, Errno cause) {
  std::string addresses;
  for (const NumericAddress& candidate : candidates) {
    if (!addresses.empty()) addresses += ", ";
    addresses += describe(candidate);
    if (address.to) addresses += fmt::format(" to {}", *address.to);
  }
  if (cause == Errno(EADDRINUSE)) return fmt::format("Another socket has the address {}.", addresses);
  if (cause == Errno(EADDRNOTAVAIL)) return fmt::format("This host does not have the address of {}.", addresses);
  if (cause == Errno(EACCES)) return fmt::format("{}: ports below 1024 need CAP_NET_BIND_SERVICE.", addresses);
  return fmt::format("The address is {}.", addresses);
}

bool is_loopback(in_addr_t address) {
  return ntohl(address) >> 24 == IN_LOOPBACKNET;
}

// True if other machines can reach the address: it is IPv4 or IPv6, and not a loopback address.
bool is_public(const NumericAddress& address) {
  if (address.family() == AF_INET) {
    return !is_loopback(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_addr.s_addr);
  }
  if (address.family() != AF_INET6) return false;
  const in6_addr& inet6 = reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&inet6)) {
    in_addr_t wrapped = 0;
    std::memcpy(&wrapped, inet6.s6_addr + 12, sizeof wrapped);
    return !is_loopback(wrapped);
  }
  return !IN6_IS_ADDR_LOOPBACK(&inet6);
}

// An unused name in the directory for temporary files.
Result<std::string> temporary_path() {
  const char* directory = getenv("TMPDIR");
  std::string pattern = fmt::format("{}/qemu-socket-XXXXXX", directory != nullptr ? directory : "/tmp");
  OwnedFd made(mkostemp(pattern.data(), O_CLOEXEC));
  if (!made)
    return fail(Error::system(fmt::format("Failed to make a temporary socket name {}", pattern), Errno::last()));
  unlink(pattern.c_str());
  return pattern;
}

}  // namespace

aio::Task<Result<std::unique_ptr<Listener>>> Listener::open(aio::Reactor& reactor, SocketAddress address, int backlog,
                                                            PathInUse path_in_use) {
  std::unique_ptr<Listener> listener(new Listener(reactor, address));
  if (auto* inet = std::get_if<InetAddress>(&address)) {
    CO_TRY(co_await listener->listen_inet(*inet, backlog));
  } else if (auto* local = std::get_if<UnixAddress>(&address)) {
    CO_TRY(listener->listen_unix(*local, backlog, path_in_use));
  } else if (auto* vsock = std::get_if<VsockAddress>(&address)) {
    CO_TRY(listener->listen_vsock(*vsock, backlog));
  } else {
    CO_TRY(listener->listen_fd(std::get<FdAddress>(address), backlog));
  }
  co_return listener;
}

aio::Task<Result<>> Listener::listen_inet(InetAddress address, int backlog) {
  CO_TRY(check_keep_alive(address.keep_alive));
  CO_TRY_ASSIGN(auto candidates, co_await resolve(address, true));
  Errno last_error(EADDRNOTAVAIL);
  for (const NumericAddress& candidate : candidates) {
    std::uint32_t last_port = address.to ? *address.to : port_of(candidate);
    auto socket =
        listen_on_port(candidate, last_port, address.multipath ? IPPROTO_MPTCP : 0, backlog, address.keep_alive);
    if (socket) {
      CO_TRY(add(std::move(*socket)));
    } else {
      last_error = socket.error();
    }
  }
  if (!sockets_.empty()) co_return Result<>{};
  const bool is_taken = last_error == Errno(EADDRINUSE);
  co_return fail(Error::system(is_taken ? "Failed to find an available port" : "Failed to bind socket", last_error)
                     .with_hint(why_not(address, candidates, last_error)));
}

// A ring keeps a reference to the file that it polls until the kernel has destroyed the ring, which happens
// asynchronously after the process is killed; so the address would stay in use for some time. The epoll descriptor
// between them avoids this: it holds no reference to the socket.
Result<> Listener::add(OwnedFd listening) {
  TRY_ASSIGN(OwnedFd readiness, watch(listening.get()));
  sockets_.push_back({.listening = std::move(listening), .readiness = std::move(readiness)});
  return {};
}

Result<OwnedFd> Listener::watch(int socket) {
  OwnedFd readiness(epoll_create1(EPOLL_CLOEXEC));
  epoll_event wanted{.events = EPOLLIN, .data = {}};
  if (!readiness || epoll_ctl(readiness.get(), EPOLL_CTL_ADD, socket, &wanted) != 0) {
    return fail(Error::system("Failed to wait for connections", Errno::last()));
  }
  return readiness;
}

Result<> Listener::listen_unix(const UnixAddress& address, int backlog, PathInUse path_in_use) {
  UnixAddress bound = address;
  if (bound.path.empty() && !bound.abstract) {
    TRY_ASSIGN(bound.path, temporary_path());
  }
  TRY_ASSIGN(NumericAddress numeric, unix_address(bound));
  OwnedFd fd(socket(AF_UNIX, kSocketFlags, 0));
  if (!fd) return fail(Error::system("Failed to create Unix socket", Errno::last()));
  // Before the path is changed, since another process may serve clients there: all that can fail early fails now.
  TRY_ASSIGN(OwnedFd readiness, watch(fd.get()));
  if (!bound.abstract) {
    TRY_ASSIGN(UnixSocketFile file, UnixSocketFile::bind(fd.get(), bound.path, numeric, path_in_use));
    file_.emplace(std::move(file));
  } else if (bind(fd.get(), numeric.get(), numeric.length) != 0) {
    return fail(Error::system(fmt::format("Failed to bind socket to {}", bound.path), Errno::last()));
  }
  if (::listen(fd.get(), backlog) != 0) return fail(Error::system("Failed to listen on socket", Errno::last()));
  sockets_.push_back({.listening = std::move(fd), .readiness = std::move(readiness)});
  return {};
}

Result<> Listener::listen_vsock(const VsockAddress& address, int backlog) {
  TRY_ASSIGN(NumericAddress numeric, vsock_address(address));
  OwnedFd fd(socket(AF_VSOCK, kSocketFlags, 0));
  if (!fd) return fail(Error::system("Failed to create vsock socket", Errno::last()));
  if (bind(fd.get(), numeric.get(), numeric.length) != 0) {
    return fail(
        Error::system(fmt::format("Failed to bind vsock socket {}:{}", address.cid, address.port), Errno::last()));
  }
  if (::listen(fd.get(), backlog) != 0) return fail(Error::system("Failed to listen on socket", Errno::last()));
  return add(std::move(fd));
}

Result<> Listener::listen_fd(const FdAddress& address, int backlog) {
  if (address.named) {
    for (OwnedFd& fd : *address.named) {
      if (::listen(fd.get(), backlog) != 0) return fail(Error::system("Failed to listen on fd socket", Errno::last()));
      TRY(add(std::move(fd)));
    }
    return {};
  }
  TRY_ASSIGN(OwnedFd fd, adopt(address));
  if (::listen(fd.get(), backlog) != 0) {
    (void)fd.release();  // left open: it is not ours to close
    return fail(Error::system("Failed to listen on fd socket", Errno::last()));
  }
  return add(std::move(fd));
}

Listener::~Listener() {
  close();
}

std::optional<std::string> Listener::takeover() const {
  if (!file_ || file_->replaced().empty()) return std::nullopt;
  return fmt::format(
      "{} listens on the unix socket '{}': this process replaces it, and new clients connect here instead",
      file_->replaced(), std::get<UnixAddress>(address_).path);
}

void Listener::settle() {
  if (file_) file_->settle();
}

void Listener::keep_path() {
  if (file_) file_->keep();
}

void Listener::close() {
  // Before the socket is closed: as long as it is open, the kernel cannot reuse its inode for another file.
  file_.reset();
  sockets_.clear();
}

NumericAddress Listener::local_address(std::size_t index) const {
  NumericAddress address;
  address.length = sizeof address.storage;
  if (getsockname(sockets_[index].listening.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.length) !=
      0) {
    address.length = 0;
  }
  return address;
}

std::optional<NumericAddress> Listener::public_address() const {
  for (std::size_t i = 0; i < sockets_.size(); ++i) {
    NumericAddress address = local_address(i);
    if (is_public(address)) return address;
  }
  return std::nullopt;
}

aio::Task<std::expected<Accepted, Errno>> Listener::accept(std::size_t index) {
  const int listening = sockets_[index].listening.get();
  for (;;) {
    auto fd = reactor_.try_accept(listening);
    if (fd) {
      Accepted accepted{.fd = OwnedFd(*fd), .peer = {}};
      accepted.peer.length = sizeof accepted.peer.storage;
      if (getpeername(*fd, reinterpret_cast<sockaddr*>(&accepted.peer.storage), &accepted.peer.length) != 0) {
        continue;  // the peer has closed the connection already
      }
      if (accepted.peer.family() == AF_UNIX) accepted.peer_uid = uid_of_peer(*fd);
      tune_connection(*fd, accepted.peer.family());
      co_return accepted;
    }
    if (connection_broke(fd.error())) continue;
    if (fd.error() != Errno(EAGAIN)) co_return fail(fd.error());
    auto ready = co_await reactor_.poll(sockets_[index].readiness.get(), POLLIN);
    if (!ready) co_return fail(ready.error());
  }
}

void tune_connection(int fd, int family) {
  if (family == AF_UNIX) {
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kUnixSendBufferBytes, sizeof kUnixSendBufferBytes);
    return;
  }
  if (family != AF_INET && family != AF_INET6) return;
  set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
}

void tune_for_files(int fd) {
  int family = AF_UNSPEC;
  socklen_t length = sizeof family;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) != 0 || family != AF_UNIX) return;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kUnixFileBufferBytes, sizeof kUnixFileBufferBytes);
}

}  // namespace blockexport::net
