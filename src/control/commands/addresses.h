// From the schema's socket addresses, in either form, to the one that net/ listens on and connects to.
#pragma once

#include "base/error.h"
#include "net/address.h"
#include "schema/sockets.h"

namespace blockexport::control {

net::SocketAddress to_net(const schema::SocketAddress& address);
net::SocketAddress to_net(const schema::SocketAddressLegacy& address);

// Back again: only what differs from its default.
schema::SocketAddress from_net(const net::SocketAddress& address);

}  // namespace blockexport::control
