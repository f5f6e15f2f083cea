// Commands nbd-servers-add, nbd-servers-remove and query-nbd-servers.

#include <fmt/format.h>

#include "base/printable.h"
#include "control/commands/server_listeners.h"
#include "control/commands/server_preparation.h"
#include "control/core/control.h"
#include "schema/server_commands.h"

namespace blockexport::control {
namespace {

schema::NbdServerInfo info_of(const std::string& id, const nbd::Server& server, bool is_stopping) {
  const nbd::ServerState& state = server.state();
  const nbd::ServerOptions& options = state.options;
  schema::NbdServerInfo info{
      .id = id,
      .exports = options.view.patterns,
      .access = options.view.read_only ? schema::NbdServerAccess::kReadOnly : schema::NbdServerAccess::kReadWrite,
      .max_connections = options.max_connections,
      .handshake_max_seconds = options.handshake_max_seconds,
      .clients = state.client_count(),
      .handshakes = static_cast<std::uint32_t>(state.handshakes.size()),
      .visible_exports = static_cast<std::uint32_t>(state.export_count()),
      .stopping = is_stopping};
  if (options.tls) info.tls = {.creds = options.tls->credentials_id, .authz = options.tls->authorizer_id};
  for (const net::Listener* listener : server.listeners()) {
    info.listeners.push_back({.address = net::describe(listener->address()), .bound = bound_addresses(*listener)});
  }
  return info;
}

}  // namespace

aio::Task<Result<>> nbd_servers_add(Control& control, schema::NbdServersAddArguments arguments) {
  if (arguments.id == kDefaultServerId) {
    co_return fail(Error("The NBD server 'default' is that of nbd-server-start")
                       .with_hint("Start it with nbd-server-start, or give the server another ID."));
  }
  schema::NbdServerConfiguration configuration{.listen = std::move(arguments.listen),
                                               .tls = std::move(arguments.tls),
                                               .exports = std::move(arguments.exports),
                                               .access = arguments.access,
                                               .max_connections = arguments.max_connections,
                                               .handshake_max_seconds = arguments.handshake_max_seconds};
  CO_TRY_ASSIGN(PreparedServer prepared,
                co_await PreparedServer::add(control, std::move(arguments.id), std::move(configuration)));
  // The shutdown may have begun while a name was resolved.
  if (control.is_shutting_down()) co_return fail("The daemon is shutting down");
  std::move(prepared).commit(control);
  co_return Result<>{};
}

aio::Task<Result<>> nbd_servers_remove(Control& control, schema::NbdServersRemoveArguments arguments) {
  if (control.servers().is_stopping(arguments.id)) {
    co_return fail(fmt::format("NBD server '{}' is being stopped already", arguments.id));
  }
  if (!control.servers().contains(arguments.id)) {
    co_return fail(fmt::format("NBD server '{}' not found", printable(arguments.id)));
  }
  co_await control.servers().stop(std::move(arguments.id), Servers::ExportsAtStop::kKept);
  co_return Result<>{};
}

aio::Task<Result<std::vector<schema::NbdServerInfo>>> query_nbd_servers(Control& control) {
  std::vector<schema::NbdServerInfo> infos;
  for (const auto& [id, server] : control.servers().all()) {
    infos.push_back(info_of(id, *server, control.servers().is_stopping(id)));
  }
  co_return infos;
}

}  // namespace blockexport::control
