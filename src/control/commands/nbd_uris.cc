#include "control/commands/nbd_uris.h"

#include <algorithm>

#include "control/backup/nbd_uri.h"
#include "control/core/control.h"
#include "export/nbd/server/nbd_export.h"
#include "schema/server_commands.h"

namespace blockexport::control {

std::vector<std::string> uris_at(const nbd::Server& server, const std::string& export_name) {
  const bool is_tls = server.state().requires_tls();
  std::vector<std::string> uris;
  auto add = [&uris](std::string uri) {
    if (std::ranges::find(uris, uri) == uris.end()) uris.push_back(std::move(uri));
  };
  for (const net::Listener* listener : server.listeners()) {
    if (!listener->unix_path().empty()) {
      add(nbd_unix_uri(listener->unix_path(), export_name, is_tls));
      continue;
    }
    for (std::size_t i = 0; i < listener->socket_count(); ++i) {
      if (auto uri = nbd_uri(listener->local_address(i), export_name, is_tls)) add(std::move(*uri));
    }
  }
  return uris;
}

std::vector<std::string> uris_of_export(const Servers& servers, const std::string& export_name) {
  std::vector<std::string> all;
  for (const auto& [id, server] : servers.serving()) {
    if (!server->state().has_export(export_name)) continue;
    std::ranges::move(uris_at(*server, export_name), std::back_inserter(all));
  }
  return all;
}

aio::Task<Result<std::vector<schema::NbdUri>>> query_nbd_uris(Control& control,
                                                              schema::QueryNbdUrisArguments arguments) {
  std::vector<schema::NbdUri> uris;
  for (const auto& [id, server] : control.servers().serving()) {
    nbd::ServerState& state = server->state();
    for (const nbd::ExportInfo* info = state.next_after(0); info != nullptr; info = state.next_after(info->sequence)) {
      if (arguments.export_ && info->name != *arguments.export_) continue;
      for (std::string& uri : uris_at(*server, info->name)) {
        uris.push_back({.server = id,
                        .export_id = nbd::NbdExport::of(info)->id(),
                        .export_ = info->name,
                        .uri = std::move(uri),
                        .read_only = info->read_only});
      }
    }
  }
  co_return uris;
}

}  // namespace blockexport::control
