// Starting the NBD server: what nbd-server-start and the options --nbd-server and --listen share.
#pragma once

#include "aio/task.h"
#include "base/error.h"
#include "net/address.h"
#include "schema/block_export.h"

namespace blockexport::control {

class Control;

// Errors: a server that runs, an address that cannot be listened on, credentials that are not there.
aio::Task<Result<>> start_nbd_server(Control& control, net::SocketAddress address,
                                     schema::NbdServerOptionsBase options);

// One more address for the server that runs.
aio::Task<Result<>> add_nbd_listener(Control& control, net::SocketAddress address);

}  // namespace blockexport::control
