// Start of the NBD server, for nbd-server-start and the options --nbd-server and --listen.
#pragma once

#include "aio/task/task.h"
#include "base/error.h"
#include "net/address.h"
#include "schema/block_export.h"

namespace blockexport::control {

class Control;

// Errors: a server that is running already, an address that cannot be listened on, credentials that do not exist.
aio::Task<Result<>> start_nbd_server(Control& control, net::SocketAddress address,
                                     schema::NbdServerOptionsBase options);

// Adds an address to the running server.
aio::Task<Result<>> add_nbd_listener(Control& control, net::SocketAddress address);

}  // namespace blockexport::control
