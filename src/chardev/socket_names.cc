#include "chardev/socket_names.h"

#include <fmt/format.h>

namespace blockexport::chardev {
namespace {

struct Name {
  std::string operator()(const net::InetAddress& inet) const { return fmt::format("tcp:{}:{}", inet.host, inet.port); }
  std::string operator()(const net::UnixAddress& local) const {
    if (!local.abstract) return "unix:" + local.path;
    return fmt::format("unix:{},abstract=on{}", local.path, local.tight ? ",tight=on" : "");
  }
  std::string operator()(const net::VsockAddress& vsock) const {
    return fmt::format("vsock:{}:{}", vsock.cid, vsock.port);
  }
  std::string operator()(const net::FdAddress& fd) const { return "fd:" + fd.descriptor; }
};

bool is_inet(const net::NumericAddress& address) {
  return address.family() == AF_INET || address.family() == AF_INET6;
}

using Ask = int(int, sockaddr*, socklen_t*) noexcept;

net::NumericAddress ask(Ask* one_end, int fd) {
  net::NumericAddress address;
  address.length = sizeof address.storage;
  if (one_end(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) address = {};
  return address;
}

}  // namespace

std::string socket_name(const net::SocketAddress& address, bool server) {
  return std::visit(Name{}, address) + (server ? ",server=on" : "");
}

std::optional<std::string> connection_name(int fd, bool server) {
  const net::NumericAddress local = ask(getsockname, fd);
  const net::NumericAddress peer = ask(getpeername, fd);
  if (!is_inet(local) || !is_inet(peer)) return std::nullopt;
  return fmt::format("tcp:{}{} <-> {}", net::describe(local), server ? ",server=on" : "", net::describe(peer));
}

net::InetAddress inet_address(const net::NumericAddress& address) {
  std::string text = net::describe(address);
  std::size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  net::InetAddress result{.host = std::move(host), .port = text.substr(colon + 1)};
  (address.family() == AF_INET6 ? result.ipv6 : result.ipv4) = true;
  return result;
}

}  // namespace blockexport::chardev
