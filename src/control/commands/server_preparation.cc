#include "control/commands/server_preparation.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/printable.h"
#include "control/commands/addresses.h"
#include "control/commands/server_listeners.h"
#include "control/core/authorizers.h"
#include "control/core/control.h"
#include "net/address_text.h"

namespace blockexport::control {
namespace {

bool is_same(const net::SocketAddress& one, const net::SocketAddress& other) {
  const auto* inherited = std::get_if<net::FdAddress>(&one);
  const auto* other_inherited = std::get_if<net::FdAddress>(&other);
  if (inherited != nullptr && other_inherited != nullptr) {
    return inherited->name == other_inherited->name && inherited->descriptor == other_inherited->descriptor;
  }
  return from_net(one) == from_net(other);
}

bool contains(const std::vector<net::SocketAddress>& addresses, const net::SocketAddress& one) {
  return std::ranges::any_of(addresses, [&](const net::SocketAddress& other) { return is_same(one, other); });
}

Result<net::SocketAddress> to_address(const schema::NbdListenAddress& address) {
  if (const std::string* text = address.text()) {
    TRY_ASSIGN(net::SocketAddress parsed, net::parse_address(*text));
    return with_keep_alive(std::move(parsed));
  }
  if (address.structured()->type() == schema::SocketAddressType::kFd) {
    return fail(Error("Parameter 'listen' does not accept a descriptor number")
                    .with_hint("systemd:NAME takes a socket that systemd passed under that name."));
  }
  return with_keep_alive(to_net(*address.structured()));
}

nbd::ExportView view_of(const schema::NbdServerConfiguration& configuration) {
  return {.patterns = configuration.exports, .read_only = configuration.access == schema::NbdServerAccess::kReadOnly};
}

Result<nbd::ServerOptions> server_options(Control& control, const schema::NbdServerConfiguration& configuration,
                                          net::TlsDirectory* credentials) {
  nbd::ServerOptions options;
  options.authorizers = &control.authorizers();
  if (configuration.tls) {
    // Only to report a wrong name now: each handshake looks it up again.
    net::TlsDirectory& known = credentials != nullptr ? *credentials : control.tls_credentials();
    TRY(known.find(configuration.tls->creds, net::TlsEndpoint::kServer));
    options.tls = nbd::ServerTls{.credentials = &control.tls_credentials(),
                                 .credentials_id = configuration.tls->creds,
                                 .authorizer_id = configuration.tls->authz};
  }
  options.max_connections = configuration.max_connections.value_or(options.max_connections);
  options.handshake_max_seconds = configuration.handshake_max_seconds.value_or(options.handshake_max_seconds);
  options.view = view_of(configuration);
  return options;
}

// The kernel refuses other addresses that are in use; the sockets of systemd are copied, so that two servers could
// listen on one.
Result<> check_not_shared(Control& control, const net::SocketAddress& address) {
  const auto* inherited = std::get_if<net::FdAddress>(&address);
  if (inherited == nullptr) return {};
  for (const auto& [id, server] : control.servers().all()) {
    for (const net::Listener* listener : server->listeners()) {
      if (!is_same(listener->address(), address)) continue;
      return fail(fmt::format("NBD server '{}' listens on {} already", id, net::describe(address)));
    }
  }
  return {};
}

Result<> fill_in(Control& control, net::SocketAddress& address) {
  const auto* inherited = std::get_if<net::FdAddress>(&address);
  if (inherited == nullptr) return {};
  if (control.named_sockets() == nullptr) return fail("This process has no sockets of systemd");
  return control.named_sockets()->fill_in(address, "NBD servers");
}

// Reports a path that is too long now.
Result<> check_length(const net::SocketAddress& address) {
  const auto* local = std::get_if<net::UnixAddress>(&address);
  if (local != nullptr) TRY(net::unix_address(*local));
  return {};
}

}  // namespace

Result<std::vector<net::SocketAddress>> listen_addresses(const schema::NbdServerConfiguration& configuration) {
  if (configuration.listen.empty()) return fail("Parameter 'listen' expects at least one address");
  if (configuration.listen.size() > kListenersPerServerMax) {
    return fail(fmt::format("An NBD server listens on at most {} addresses, and there are {}", kListenersPerServerMax,
                            configuration.listen.size()));
  }
  std::vector<net::SocketAddress> addresses;
  for (const schema::NbdListenAddress& one : configuration.listen) {
    TRY_ASSIGN(net::SocketAddress address, to_address(one));
    if (contains(addresses, address)) {
      return fail(fmt::format("Address '{}' is given twice", printable(net::describe(address))));
    }
    TRY(check_length(address));
    addresses.push_back(std::move(address));
  }
  return addresses;
}

Result<> check_server(const schema::NbdServerConfiguration& configuration) {
  TRY(listen_addresses(configuration));
  return view_of(configuration).check();
}

aio::Task<Result<PreparedServer>> PreparedServer::add(Control& control, std::string id,
                                                      schema::NbdServerConfiguration configuration,
                                                      net::TlsDirectory* credentials) {
  CO_TRY(control.servers().check_new_id(id));
  CO_TRY(check_server(configuration));
  CO_TRY_ASSIGN(std::vector<net::SocketAddress> addresses, listen_addresses(configuration));
  CO_TRY_ASSIGN(nbd::ServerOptions options, server_options(control, configuration, credentials));
  PreparedServer prepared(id, std::move(options));
  prepared.reservation_.emplace(control.servers().reserve(id));
  CO_TRY(co_await prepared.open(control, addresses));
  prepared.addresses_ = std::move(addresses);
  co_return prepared;
}

aio::Task<Result<PreparedServer>> PreparedServer::change(Control& control, std::string id,
                                                         schema::NbdServerConfiguration configuration,
                                                         net::TlsDirectory* credentials) {
  CO_TRY(check_server(configuration));
  CO_TRY_ASSIGN(std::vector<net::SocketAddress> addresses, listen_addresses(configuration));
  CO_TRY_ASSIGN(nbd::ServerOptions options, server_options(control, configuration, credentials));
  if (control.servers().find(id) == nullptr) co_return fail(fmt::format("NBD server '{}' not found", printable(id)));
  std::vector<net::SocketAddress> added = addresses;
  for (const net::Listener* listener : control.servers().find(id)->listeners()) {
    std::erase_if(added, [&](const net::SocketAddress& one) { return is_same(one, listener->address()); });
  }
  PreparedServer prepared(std::move(id), std::move(options));
  CO_TRY(co_await prepared.open(control, std::move(added)));
  prepared.addresses_ = std::move(addresses);
  co_return prepared;
}

aio::Task<Result<>> PreparedServer::open(Control& control, std::vector<net::SocketAddress> addresses) {
  for (net::SocketAddress& address : addresses) {
    CO_TRY(check_not_shared(control, address));
    CO_TRY(fill_in(control, address));
    auto opened = co_await net::Listener::open(control.reactor(), address, SOMAXCONN, net::PathInUse::kRefused);
    if (!opened) {
      const std::string text = printable(net::describe(address), net::kAddressTextBytesMax);
      co_return fail(std::move(opened).error().with_prefix(fmt::format("NBD server '{}', address {}: ", id_, text)));
    }
    listeners_.push_back(std::move(*opened));
  }
  co_return Result<>{};
}

void PreparedServer::commit(Control& control) && {
  const bool is_new = reservation_.has_value();
  nbd::Server* server = is_new ? &control.servers().make(id_, options_) : control.servers().find(id_);
  if (server == nullptr) return;
  if (!is_new) {
    for (const net::Listener* listener : server->listeners()) {
      if (contains(addresses_, listener->address())) continue;
      control.servers().tell(id_, fmt::format("no longer listens on {}", net::describe(listener->address())));
      server->close_listener(*listener);
    }
    server->change(options_);
  }
  if (options_.tls && options_.tls->authorizer_id) {
    warn_of_missing_authorizer(control.authorizers(), control.log(), *options_.tls->authorizer_id, id_);
  }
  for (auto& listener : listeners_) begin_to_listen(control, id_, std::move(listener));
  listeners_.clear();
}

}  // namespace blockexport::control
