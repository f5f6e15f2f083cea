#include "net/listen_probe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <variant>

#include "base/owned_fd.h"
#include "net/resolve.h"

namespace blockexport::net {
namespace {

// Other errors than that of a port in use, which this program itself may use at the moment.
IoResult bind_once(const NumericAddress& address) {
  const OwnedFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return std::unexpected(Errno::last());
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.family() == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(fd.get(), address.get(), address.length) == 0 || Errno::last() == Errno(EADDRINUSE)) return {};
  return std::unexpected(Errno::last());
}

// As for a listener, one of several addresses is enough.
aio::Task<Result<>> probe_inet(InetAddress address) {
  CO_TRY_ASSIGN(auto candidates, co_await resolve(address, true));
  Errno last_error(EADDRNOTAVAIL);
  for (const NumericAddress& candidate : candidates) {
    const IoResult bound = bind_once(candidate);
    if (bound) co_return Result<>();
    last_error = bound.error();
  }
  co_return fail(
      Error::system(fmt::format("Failed to bind socket to {}", describe(SocketAddress(address))), last_error));
}

Result<> probe_unix(const UnixAddress& address) {
  if (address.abstract || address.path.empty()) return {};
  TRY(unix_address(address));
  TRY(probe_directory_of(address.path));
  struct stat status{};
  if (lstat(address.path.c_str(), &status) != 0 || S_ISSOCK(status.st_mode)) return {};
  return fail(fmt::format("'{}' exists, and is no socket", address.path));
}

}  // namespace

Result<> probe_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash == 0 ? 1 : slash);
  struct stat status{};
  if (stat(directory.c_str(), &status) != 0) {
    return fail(Error::system(fmt::format("Directory '{}'", directory), Errno::last()));
  }
  if (!S_ISDIR(status.st_mode)) return fail(fmt::format("'{}' is no directory", directory));
  if (faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    return fail(Error::system(fmt::format("Directory '{}' cannot be written", directory), Errno::last()));
  }
  return {};
}

aio::Task<Result<>> probe_address(SocketAddress address) {
  if (auto* inet = std::get_if<InetAddress>(&address)) co_return co_await probe_inet(*inet);
  if (auto* local = std::get_if<UnixAddress>(&address)) co_return probe_unix(*local);
  co_return Result<>();
}

}  // namespace blockexport::net
