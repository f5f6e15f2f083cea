// Commands chardev-add and chardev-remove, and the queries of chardevs.

#include "control/commands/chardev.h"

#include <fmt/format.h>

#include "chardev/open_chardev.h"
#include "control/commands/addresses.h"
#include "control/core/authorizers.h"
#include "control/core/control.h"
#include "schema/char_commands.h"

namespace blockexport::control {
namespace {

constexpr std::int64_t kMillisecondsPerSecond = 1000;

// A time that overflows would make the chardev reconnect all the time.
Result<> check_reconnect(std::string_view name, const std::optional<std::int64_t>& value, std::int64_t value_max) {
  if (!value || (*value >= 0 && *value <= value_max)) return {};
  return fail(fmt::format("Parameter '{}' expects a number from 0 to {}", name, value_max));
}

Result<chardev::Options> socket_options(Control& control, const schema::ChardevSocket& socket) {
  bool server = socket.server.value_or(true);
  if (socket.reconnect && socket.reconnect_ms) {
    return fail("'reconnect' and 'reconnect-ms' are mutually exclusive");
  }
  TRY(check_reconnect("reconnect", socket.reconnect, chardev::kReconnectMsMax / kMillisecondsPerSecond));
  TRY(check_reconnect("reconnect-ms", socket.reconnect_ms, chardev::kReconnectMsMax));
  if (socket.reconnect) {
    control.log().warning("chardev-add: 'reconnect' is deprecated, use 'reconnect-ms', which counts milliseconds");
  }
  std::int64_t reconnect_ms = socket.reconnect_ms.value_or(socket.reconnect.value_or(0) * kMillisecondsPerSecond);
  if (server && reconnect_ms > 0) return fail("'reconnect' option is incompatible with socket in server listen mode");
  if (!server && socket.wait.value_or(false)) {
    return fail("'wait' option is incompatible with socket in client connect mode");
  }
  net::SocketAddress address = to_net(socket.addr);
  TRY_ASSIGN(auto tls, chardev_tls(control, address, server, socket.tls_creds, socket.tls_authz));
  return chardev::SocketOptions{.address = std::move(address),
                                .server = server,
                                .wait = socket.wait.value_or(false),
                                .reconnect_ms = static_cast<std::uint64_t>(reconnect_ms),
                                .tls = std::move(tls)};
}

Result<chardev::Options> to_options(Control& control, const schema::ChardevBackend& backend) {
  switch (backend.type()) {
    case schema::ChardevBackendKind::kFile: {
      const schema::ChardevFile& file = backend.as<schema::ChardevBackendKind::kFile>().data;
      return chardev::FileOptions{
          .output_path = file.out, .input_path = file.in.value_or(""), .append = file.append.value_or(false)};
    }
    case schema::ChardevBackendKind::kSocket:
      return socket_options(control, backend.as<schema::ChardevBackendKind::kSocket>().data);
    case schema::ChardevBackendKind::kNull:
      return chardev::NullOptions{};
    case schema::ChardevBackendKind::kStdio:
      return chardev::StdioOptions{.signal =
                                       backend.as<schema::ChardevBackendKind::kStdio>().data.signal.value_or(true)};
  }
  __builtin_unreachable();
}

}  // namespace

Result<std::optional<chardev::SocketTls>> chardev_tls(Control& control, const net::SocketAddress& address, bool server,
                                                      const std::optional<std::string>& credentials,
                                                      const std::optional<std::string>& authorizer) {
  if (!credentials && authorizer) return fail("'tls_authz' option requires 'tls_creds' option");
  if (!credentials) return std::nullopt;
  if (std::holds_alternative<net::UnixAddress>(address)) {
    return fail("'tls_creds' option is incompatible with 'unix' address type");
  }
  if (std::holds_alternative<net::VsockAddress>(address)) {
    return fail("'tls_creds' option is incompatible with 'vsock' address type");
  }
  if (std::holds_alternative<net::FdAddress>(address) && !server) {
    return fail("'tls_creds' option is incompatible with 'fd' address type as client");
  }
  const auto endpoint = server ? net::TlsEndpoint::kServer : net::TlsEndpoint::kClient;
  // Only to report a wrong name now: each connection looks it up again.
  TRY(control.tls_credentials().find(*credentials, endpoint));
  if (authorizer) warn_of_missing_authorizer(control.authorizers(), control.log(), *authorizer);
  return chardev::SocketTls{.credentials = &control.tls_credentials(),
                            .credentials_id = *credentials,
                            .authorizers = &control.authorizers(),
                            .authorizer_id = authorizer};
}

aio::Task<Result<>> add_chardev(Control& control, std::string id, chardev::Options options) {
  CO_TRY_ASSIGN(auto reservation, control.chardevs().reserve(id));
  if (control.is_daemonized() && std::holds_alternative<chardev::StdioOptions>(options)) {
    co_return fail("cannot use stdio with -daemonize");
  }
  if (auto* file = std::get_if<chardev::FileOptions>(&options)) file->pipe_wait_ns = control.pipe_wait_ns();
  CO_TRY_ASSIGN(auto opened, co_await chardev::open_chardev(control.reactor(), control.log(), id, std::move(options)));
  if (control.is_shutting_down()) co_return fail("The daemon is shutting down");
  if (control.is_serving()) opened->settle();
  control.chardevs().add(std::move(opened));
  co_return Result<>{};
}

aio::Task<Result<>> chardev_add(Control& control, schema::ChardevAddArguments arguments) {
  CO_TRY(control.chardevs().check_new(arguments.id));
  auto options = to_options(control, arguments.backend);
  Result<> added = options ? co_await add_chardev(control, arguments.id, std::move(*options))
                           : Result<>(fail(std::move(options).error()));
  if (added) co_return added;
  co_return fail(std::move(added).error().with_prefix(fmt::format("Failed to add chardev '{}': ", arguments.id)));
}

aio::Task<Result<>> chardev_remove(Control& control, schema::ChardevRemoveArguments arguments) {
  co_return control.chardevs().remove(arguments.id);
}

aio::Task<Result<std::vector<schema::ChardevInfo>>> query_chardev(Control& control) {
  std::vector<schema::ChardevInfo> listed;
  for (const auto& chardev : control.chardevs().all()) {
    listed.push_back(
        {.label = chardev->label(), .filename = chardev->filename(), .frontend_open = chardev->has_frontend()});
  }
  co_return listed;
}

aio::Task<Result<std::vector<schema::ChardevBackendInfo>>> query_chardev_backends(Control&) {
  std::vector<schema::ChardevBackendInfo> backends;
  for (std::string_view name : schema::EnumNames<schema::ChardevBackendKind>::kNames) {
    backends.push_back({.name = std::string(name)});
  }
  co_return backends;
}

}  // namespace blockexport::control
