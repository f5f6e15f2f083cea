// Names to numbers: what getaddrinfo(3) says, asked on a worker thread so that a slow name server stops nobody.
#pragma once

#include <sys/socket.h>

#include <vector>

#include "aio/task.h"
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

// All addresses of an inet address, in the resolver's order. `passive`: for listening.
// Error: "address resolution failed for HOST:PORT: REASON".
aio::Task<Result<std::vector<NumericAddress>>> resolve(InetAddress address, bool passive);

// A unix address. Errors: a path that does not fit.
Result<NumericAddress> unix_address(const UnixAddress& address);

// A vsock address. Errors: numbers that do not parse.
Result<NumericAddress> vsock_address(const VsockAddress& address);

// The socket of an address of the command line, once. Errors: one of QMP, which has none.
Result<OwnedFd> adopt(const FdAddress& address);

// "HOST:PORT" of a socket's numeric address; "unix:PATH" for unix sockets; for log lines.
std::string describe(const NumericAddress& address);

}  // namespace blockexport::net
