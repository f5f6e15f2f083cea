// Commands of the NBD server: nbd-server-start, nbd-server-stop, and the older nbd-server-add and nbd-server-remove.

#include "control/commands/nbd_server.h"

#include <fmt/format.h>

#include "control/commands/addresses.h"
#include "control/commands/export.h"
#include "control/commands/export_types.h"
#include "control/commands/server_listeners.h"
#include "control/core/authorizers.h"
#include "control/core/control.h"
#include "schema/block_export_commands.h"

namespace blockexport::control {
namespace {

// Errors: contradictory options, credentials that do not exist or are for clients.
Result<nbd::ServerOptions> to_server_options(Control& control, const schema::NbdServerOptionsBase& options) {
  if (options.tls_authz && !options.tls_creds) {
    return fail(Error("'tls-authz' option requires 'tls-creds' option")
                    .with_hint("Without TLS clients do not prove their identity. Give the server tls-creds, or leave "
                               "tls-authz out to allow all clients."));
  }
  nbd::ServerOptions server_options;
  server_options.authorizers = &control.authorizers();
  if (options.tls_creds) {
    // Only to report a wrong name now: each handshake looks it up again.
    TRY(control.tls_credentials().find(*options.tls_creds, net::TlsEndpoint::kServer));
    server_options.tls = nbd::ServerTls{.credentials = &control.tls_credentials(),
                                        .credentials_id = *options.tls_creds,
                                        .authorizer_id = options.tls_authz};
  }
  server_options.max_connections = options.max_connections.value_or(server_options.max_connections);
  server_options.handshake_max_seconds = options.handshake_max_seconds.value_or(server_options.handshake_max_seconds);
  return server_options;
}

Result<> check_no_server(Control& control) {
  if (control.servers().contains(kDefaultServerId)) return fail("NBD server already running");
  if (control.is_shutting_down()) return fail("The daemon is shutting down");
  return control.servers().check_new_id(kDefaultServerId);
}

}  // namespace

aio::Task<Result<>> start_nbd_server(Control& control, net::SocketAddress address,
                                     schema::NbdServerOptionsBase options) {
  CO_TRY(check_no_server(control));
  // Checked before the address: opening a unix path may take the path over from another server.
  CO_TRY_ASSIGN(nbd::ServerOptions server_options, to_server_options(control, options));
  CO_TRY_ASSIGN(auto listener, co_await net::Listener::open(control.reactor(), with_keep_alive(std::move(address))));
  // Checks again, because resolving a name takes time.
  CO_TRY(check_no_server(control));
  if (options.tls_authz) {
    warn_of_missing_authorizer(control.authorizers(), control.log(), *options.tls_authz, kDefaultServerId);
  }
  control.servers().make(kDefaultServerId, server_options);
  begin_to_listen(control, kDefaultServerId, std::move(listener));
  co_return Result<>{};
}

aio::Task<Result<>> add_nbd_listener(Control& control, net::SocketAddress address) {
  if (control.servers().find_default() == nullptr) co_return fail("NBD server not running");
  CO_TRY_ASSIGN(auto listener, co_await net::Listener::open(control.reactor(), with_keep_alive(std::move(address))));
  if (control.servers().find_default() == nullptr) co_return fail("NBD server not running");
  begin_to_listen(control, kDefaultServerId, std::move(listener));
  co_return Result<>{};
}

aio::Task<Result<>> nbd_server_start(Control& control, schema::NbdServerOptionsLegacy arguments) {
  if (arguments.addr.type() == schema::SocketAddressType::kFd) {
    // A QMP client cannot pass a descriptor; only the command line can.
    CO_TRY(check_no_server(control));
    co_return fail("only QEMU supports file descriptor passing");
  }
  co_return co_await start_nbd_server(control, to_net(arguments.addr),
                                      {.handshake_max_seconds = arguments.handshake_max_seconds,
                                       .tls_creds = arguments.tls_creds,
                                       .tls_authz = arguments.tls_authz,
                                       .max_connections = arguments.max_connections});
}

aio::Task<Result<>> nbd_server_stop(Control& control) {
  if (control.servers().find_default() == nullptr) co_return fail("NBD server not running");
  co_await control.servers().stop(std::string(kDefaultServerId), Servers::ExportsAtStop::kRemovedUnlessShown);
  co_return Result<>{};
}

aio::Task<Result<>> nbd_server_add(Control& control, schema::NbdServerAddOptions arguments) {
  block::Node* node = control.graph().find(arguments.device);
  if (node == nullptr) {
    co_return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", arguments.device, arguments.device));
  }
  schema::BlockExportOptionsNbd nbd{.name = arguments.name.value_or(arguments.device),
                                    .description = arguments.description};
  if (arguments.bitmap) {
    nbd.bitmaps.emplace();
    nbd.bitmaps->push_back({.value = *arguments.bitmap});
  }
  schema::BlockExportOptions options{.id = *nbd.name, .node_name = arguments.device};
  options.writable = arguments.writable.value_or(false) && !node->read_only();
  options.branch = std::move(nbd);
  co_return co_await block_export_add(control, std::move(options));
}

aio::Task<Result<>> nbd_server_remove(Control& control, schema::NbdServerRemoveArguments arguments) {
  exports::Export* found = control.exports().find(arguments.name);
  if (found != nullptr && type_of(*found) != schema::BlockExportType::kNbd) {
    co_return fail(fmt::format("Block export '{}' is not an NBD export", arguments.name));
  }
  co_return co_await control.exports().remove(arguments.name, to_remove_mode(arguments.mode));
}

}  // namespace blockexport::control
