#include "net/connect.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "net/keep_alive.h"
#include "net/listen.h"
#include "net/resolve.h"

namespace blockexport::net {
namespace {

aio::Task<std::expected<OwnedFd, Errno>> connect_to(aio::Reactor& reactor, NumericAddress address, int protocol) {
  OwnedFd fd(socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
  if (!fd) co_return fail(Errno::last());
  if (::connect(fd.get(), address.get(), address.length) == 0) co_return std::move(fd);
  if (errno != EINPROGRESS) co_return fail(Errno::last());
  auto ready = co_await reactor.poll(fd.get(), POLLOUT);
  if (!ready) co_return fail(ready.error());
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) co_return fail(error);
  co_return std::move(fd);
}

// Uses a path that is too long for an address through a descriptor of its directory, which `directory` keeps open.
Result<NumericAddress> address_of_path(const UnixAddress& address, const std::string& shown, OwnedFd& directory) {
  auto numeric = unix_address(address);
  if (numeric || address.abstract || !address.path.starts_with('/')) return numeric;
  const std::size_t slash = address.path.rfind('/');
  directory = OwnedFd(::open(address.path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return fail(Error::system(fmt::format("Failed to connect to '{}'", shown), Errno::last()));
  return unix_address({.path = fmt::format("/proc/self/fd/{}{}", directory.get(), address.path.substr(slash))});
}

}  // namespace

aio::Task<Result<OwnedFd>> connect(aio::Reactor& reactor, SocketAddress address, std::string shown_path) {
  std::vector<NumericAddress> candidates;
  OwnedFd directory;
  KeepAlive keep_alive;
  int protocol = 0;
  if (auto* fd = std::get_if<FdAddress>(&address)) co_return adopt(*fd);
  if (auto* inet = std::get_if<InetAddress>(&address)) {
    CO_TRY(check_keep_alive(inet->keep_alive));
    CO_TRY_ASSIGN(candidates, co_await resolve(*inet, false));
    keep_alive = inet->keep_alive;
    if (inet->multipath) protocol = IPPROTO_MPTCP;
  } else if (auto* local = std::get_if<UnixAddress>(&address)) {
    if (shown_path.empty()) shown_path = local->path;
    CO_TRY_ASSIGN(NumericAddress numeric, address_of_path(*local, shown_path, directory));
    candidates.push_back(numeric);
  } else {
    CO_TRY_ASSIGN(NumericAddress numeric, vsock_address(std::get<VsockAddress>(address)));
    candidates.push_back(numeric);
  }
  Errno last_error(EADDRNOTAVAIL);
  for (const NumericAddress& candidate : candidates) {
    auto fd = co_await connect_to(reactor, candidate, protocol);
    if (fd) {
      tune_connection(fd->get(), candidate.family());
      set_keep_alive(fd->get(), keep_alive);
      co_return std::move(*fd);
    }
    last_error = fd.error();
  }
  const auto* local = std::get_if<UnixAddress>(&address);
  co_return fail(Error::system(
      fmt::format("Failed to connect to '{}'", local != nullptr ? shown_path : describe(address)), last_error));
}

}  // namespace blockexport::net
