// Connecting out: for chardevs that call a peer.
#pragma once

#include "aio/reactor.h"
#include "base/error.h"
#include "base/owned_fd.h"
#include "net/address.h"

namespace blockexport::net {

// A connected, non-blocking socket. Each address of a host name is tried in turn. The kernel's own time limit applies;
// cancelling the task ends the wait. An absolute unix path may be longer than an address has room for. Errors: "Failed
// to connect to 'P': ...".
// `shown_path` is how errors name a unix path, if not as the address has it.
aio::Task<Result<OwnedFd>> connect(aio::Reactor& reactor, SocketAddress address, std::string shown_path = {});

}  // namespace blockexport::net
