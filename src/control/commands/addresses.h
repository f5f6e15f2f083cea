// Conversion of the schema's socket addresses, in both forms, to the addresses of net/.
#pragma once

#include "base/error.h"
#include "net/address.h"
#include "schema/sockets.h"

namespace blockexport::control {

net::SocketAddress to_net(const schema::SocketAddress& address);
net::SocketAddress to_net(const schema::SocketAddressLegacy& address);

// The reverse: includes only members that differ from their defaults.
schema::SocketAddress from_net(const net::SocketAddress& address);

}  // namespace blockexport::control
