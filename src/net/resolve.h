// Name resolution with getaddrinfo(3), on a worker thread, so that a slow name server does not block the event loop.
// Thread: the reactor's; the functions that are no coroutines: any.
#pragma once

#include <sys/socket.h>

#include <vector>

#include "aio/task/task.h"
#include "base/error.h"
#include "base/owned_fd.h"
#include "net/address.h"

namespace blockexport::net {

struct NumericAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

// Returns all addresses of an inet address, in the resolver's order. `passive`: for listening. Error: "address
// resolution failed for HOST:PORT: REASON".
aio::Task<Result<std::vector<NumericAddress>>> resolve(InetAddress address, bool passive);

// Converts a unix address. Error: the path is too long.
Result<NumericAddress> unix_address(const UnixAddress& address);

// Converts a vsock address. Errors: a number does not parse.
Result<NumericAddress> vsock_address(const VsockAddress& address);

// Takes the inherited socket of an address, once. Error: the address has none, because it came from QMP.
Result<OwnedFd> adopt(const FdAddress& address);

// "HOST:PORT" of a socket's numeric address; "unix:PATH" for unix sockets; for log lines.
std::string describe(const NumericAddress& address);

}  // namespace blockexport::net
