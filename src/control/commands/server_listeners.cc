#include "control/commands/server_listeners.h"

#include <fmt/format.h>

#include "control/core/control.h"
#include "export/nbd/server/client_lines.h"
#include "net/keep_alive.h"

namespace blockexport::control {
namespace {

// Warns once for each listener on a public address: anybody who can reach it, or can intercept the traffic, has access.
void warn_of_public_address(const Control& control, std::string_view server_id, const net::Listener& listener) {
  const auto address = listener.public_address();
  if (!address) return;
  const LogField server{.name = "server", .value = server_id};
  control.log().warning(
      fmt::format("NBD is served on {}{} without TLS: everybody who can reach that address can read the exports, and "
                  "write to those that are writable; anybody on the network path can read and change the data. Give "
                  "the server tls-creds, or an address of this host only",
                  net::describe(*address), nbd::of_server(server_id)),
      {&server, 1});
}

// True if the address leaves something open, which was chosen when the socket was bound.
bool is_open(const net::SocketAddress& address) {
  if (const auto* inet = std::get_if<net::InetAddress>(&address)) return inet->port == "0" || inet->to.has_value();
  const auto* local = std::get_if<net::UnixAddress>(&address);
  return local != nullptr && local->path.empty() && !local->abstract;
}

}  // namespace

net::SocketAddress with_keep_alive(net::SocketAddress address) {
  auto* inet = std::get_if<net::InetAddress>(&address);
  if (inet != nullptr && !inet->keep_alive.enabled) inet->keep_alive = net::kServerKeepAlive;
  return address;
}

std::vector<std::string> bound_addresses(const net::Listener& listener) {
  if (!listener.unix_path().empty()) return {fmt::format("unix:{}", listener.unix_path())};
  std::vector<std::string> addresses;
  for (std::size_t i = 0; i < listener.socket_count(); ++i) {
    addresses.push_back(net::describe(listener.local_address(i)));
  }
  return addresses;
}

void begin_to_listen(Control& control, std::string_view server_id, std::unique_ptr<net::Listener> listener) {
  nbd::Server& server = *control.servers().find(server_id);
  const LogField field{.name = "server", .value = server_id};
  if (server_id != kDefaultServerId || is_open(listener->address())) {
    control.log().info(
        fmt::format("NBD server '{}' listens on {}{}", server_id, fmt::join(bound_addresses(*listener), " and "),
                    server.state().requires_tls() ? ", over TLS" : ""),
        {&field, 1});
  }
  if (auto takeover = listener->takeover()) control.log().warning(*takeover, {&field, 1});
  if (!server.state().requires_tls()) warn_of_public_address(control, server_id, *listener);
  server.listen_on(std::move(listener));
}

}  // namespace blockexport::control
