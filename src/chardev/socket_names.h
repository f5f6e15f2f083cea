// What query-chardev shows of a chardev that is a socket. Pure functions but for asking the kernel for the addresses of
// a connection; any thread.
#pragma once

#include <optional>
#include <string>

#include "net/address.h"
#include "net/resolve.h"

namespace blockexport::chardev {

// "unix:PATH,server=on", "tcp:HOST:PORT", ...: one that listens at `address`, or calls it.
std::string socket_name(const net::SocketAddress& address, bool server);

// "tcp:LOCAL:PORT,server=on <-> PEER:PORT" of a connected socket; nothing when it is not TCP.
std::optional<std::string> connection_name(int fd, bool server);

// The numeric address of a TCP socket in the form of the configuration.
net::InetAddress inet_address(const net::NumericAddress& address);

}  // namespace blockexport::chardev
