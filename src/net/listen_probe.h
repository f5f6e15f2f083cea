// probe_address(): a check whether a process could listen on an address, without listening there.
//
// For the check of a configuration. Clients never see the socket, because it does not listen; but for a moment no other
// process can bind the port. Thread: the reactor's; name resolution runs on a worker thread.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "net/address.h"

namespace blockexport::net {

// An IP address: binds the first port, which may be in use, and closes the socket. A unix path: looks at its directory,
// and at a file in its place. Errors: a name that cannot be resolved; an address that is none of this host; missing
// rights; a directory that is missing or cannot be written; another file than a socket at the path. Other addresses are
// not probed.
aio::Task<Result<>> probe_address(SocketAddress address);

// Succeeds if this process could create a file at a path. Errors: its directory is missing or cannot be written.
Result<> probe_directory_of(const std::string& path);

}  // namespace blockexport::net
