// connect(): outgoing connections, for client chardevs. Thread: the reactor's.
#pragma once

#include "aio/reactor/reactor.h"
#include "base/error.h"
#include "base/owned_fd.h"
#include "net/address.h"

namespace blockexport::net {

// Returns a connected, non-blocking socket. Tries each address of a host name in turn. The kernel's time limit applies;
// cancelling the task ends the wait. An absolute unix path may be longer than sun_path. Errors: "Failed to connect to
// 'P': ...". `shown_path`: the unix path that errors show; empty: that of the address.
aio::Task<Result<OwnedFd>> connect(aio::Reactor& reactor, SocketAddress address, std::string shown_path = {});

}  // namespace blockexport::net
