// Commands query-export-clients and export-client-disconnect.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/printable.h"
#include "control/core/client_events.h"
#include "control/core/control.h"
#include "control/core/named_reactors.h"
#include "schema/operation_commands.h"

namespace blockexport::control {
namespace {

constexpr std::int64_t kMicrosecondsPerSecond = 1'000'000;
constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

using ReactorNames = std::map<const aio::DataReactor*, std::string>;

ReactorNames reactor_names(Control& control) {
  ReactorNames names;
  for (NamedReactor& one : named_reactors(control)) names.emplace(one.data_reactor, std::move(one.name));
  return names;
}

schema::ExportClientPhase to_schema(exports::Phase phase) {
  switch (phase) {
    case exports::Phase::kCreated:
      return schema::ExportClientPhase::kStarting;
    case exports::Phase::kServing:
      return schema::ExportClientPhase::kServing;
    case exports::Phase::kAnswering:
      return schema::ExportClientPhase::kAnswering;
    case exports::Phase::kDraining:
      return schema::ExportClientPhase::kDraining;
    case exports::Phase::kEnded:
      return schema::ExportClientPhase::kEnded;
  }
  __builtin_unreachable();
}

// All reactors use the same clock.
std::optional<std::int64_t> oldest_request_ms(Control& control, const exports::ClientCounters& counters) {
  const std::uint64_t since_ns = counters.oldest_since_ns.load();
  if (since_ns == 0) return std::nullopt;
  const std::uint64_t now_ns = control.reactor().now_ns();
  return static_cast<std::int64_t>((now_ns - std::min(now_ns, since_ns)) / kNanosecondsPerMillisecond);
}

schema::ExportClient to_schema(Control& control, const exports::Export& used, const exports::ServedClient& client,
                               const ReactorNames& names) {
  const exports::ClientDescription& about = client.description();
  const exports::ClientCounters& counters = client.counters();
  schema::ExportClient shown{.client = static_cast<std::int64_t>(about.number),
                             .server = about.server,
                             .export_ = used.id(),
                             .peer = about.peer,
                             .identity = about.identity,
                             .since = about.since_us / kMicrosecondsPerSecond,
                             .phase = to_schema(counters.phase.load(std::memory_order_relaxed)),
                             .header_mode = std::string(about.header_mode),
                             .contexts = about.contexts,
                             .writable = about.is_writable,
                             .in_flight = static_cast<std::int64_t>(counters.in_flight.load()),
                             .oldest_request_ms = oldest_request_ms(control, counters),
                             .operations = to_operation_counts(counters.operations),
                             .bytes = to_operation_counts(counters.bytes)};
  if (about.tls) {
    shown.tls =
        schema::ExportClientTls{.version = std::string(about.tls->version), .cipher = std::string(about.tls->cipher)};
  }
  const auto name = names.find(&client.data_reactor());
  shown.reactor = name == names.end() ? "unknown" : name->second;
  return shown;
}

bool matches(const schema::ExportClientDisconnectArguments& wanted, const exports::ServedClient& client) {
  const exports::ClientDescription& about = client.description();
  if (wanted.client && static_cast<std::int64_t>(about.number) != *wanted.client) return false;
  return !wanted.identity || about.identity == *wanted.identity;
}

Result<> check_ban(std::optional<std::uint32_t> seconds) {
  if (!seconds || (*seconds >= 1 && *seconds <= nbd::kBanSecondsMax)) return {};
  return fail(fmt::format("Parameter 'ban-seconds' expects a number from 1 to {}", nbd::kBanSecondsMax));
}

// Those by whom clients are banned: each client's identity or group of peers, and the identity that was asked for.
using BanNames = std::set<std::pair<nbd::Bans::By, std::string>>;

BanNames names_to_ban(const std::vector<exports::ServedClient*>& clients, const std::optional<std::string>& identity) {
  BanNames names;
  if (identity) names.emplace(nbd::Bans::By::kIdentity, *identity);
  for (const exports::ServedClient* client : clients) {
    const exports::ClientDescription& about = client->description();
    if (about.identity) {
      names.emplace(nbd::Bans::By::kIdentity, *about.identity);
    } else {
      names.emplace(nbd::Bans::By::kPeerGroup, std::string(about.peer_group));
    }
  }
  return names;
}

Result<> ban(Control& control, const BanNames& names, std::uint32_t seconds) {
  const std::uint64_t now_ns = control.reactor().now_ns();
  for (const auto& [by, name] : names) {
    TRY(control.servers().bans().add(by, name, now_ns + seconds * kNanosecondsPerSecond, now_ns));
    control.log().info(fmt::format("NBD clients {} {} are banned for {} s",
                                   by == nbd::Bans::By::kIdentity ? "with the identity" : "of",
                                   printable(name, name.size()), seconds));
  }
  return {};
}

}  // namespace

aio::Task<Result<std::vector<schema::ExportClient>>> query_export_clients(Control& control) {
  control.client_events().enable();
  const ReactorNames names = reactor_names(control);
  std::vector<schema::ExportClient> shown;
  for (const exports::Export* used : control.exports().list()) {
    for (const exports::ServedClient* client : used->clients()) {
      shown.push_back(to_schema(control, *used, *client, names));
    }
  }
  std::ranges::sort(shown, {}, &schema::ExportClient::client);
  co_return shown;
}

aio::Task<Result<schema::ExportClientDisconnected>> export_client_disconnect(
    Control& control, schema::ExportClientDisconnectArguments arguments) {
  if (!arguments.client && !arguments.identity && !arguments.export_) {
    co_return fail(Error("At least one of the parameters 'client', 'identity' and 'export' is required")
                       .with_hint("Without a selector the command would disconnect all clients."));
  }
  if (arguments.export_ && control.exports().find(*arguments.export_) == nullptr) {
    co_return fail(fmt::format("Export '{}' is not found", *arguments.export_));
  }
  CO_TRY(check_ban(arguments.ban_seconds));
  std::vector<exports::ServedClient*> clients;
  for (exports::Export* used : control.exports().list()) {
    if (arguments.export_ && used->id() != *arguments.export_) continue;
    for (exports::ServedClient* client : used->clients()) {
      if (matches(arguments, *client)) clients.push_back(client);
    }
  }
  schema::ExportClientDisconnected result{.disconnected = static_cast<std::int64_t>(clients.size())};
  if (arguments.ban_seconds) {
    const BanNames names = names_to_ban(clients, arguments.identity);
    CO_TRY(ban(control, names, *arguments.ban_seconds));
    result.banned = static_cast<std::int64_t>(names.size());
  }
  for (exports::ServedClient* client : clients) client->disconnect();
  co_return result;
}

}  // namespace blockexport::control
