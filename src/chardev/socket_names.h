// Names of socket chardevs, as query-chardev shows them. Pure functions, except that connection_name() queries the
// kernel; any thread.
#pragma once

#include <optional>
#include <string>

#include "net/address.h"
#include "net/resolve.h"

namespace blockexport::chardev {

// "unix:PATH,server=on", "tcp:HOST:PORT", ...: of a socket that listens at `address`, or connects to it.
std::string socket_name(const net::SocketAddress& address, bool server);

// "tcp:LOCAL:PORT,server=on <-> PEER:PORT" of a connected socket; nothing for a socket that is not TCP.
std::optional<std::string> connection_name(int fd, bool server);

// The numeric address of a TCP socket in the form of the configuration.
net::InetAddress inet_address(const net::NumericAddress& address);

}  // namespace blockexport::chardev
