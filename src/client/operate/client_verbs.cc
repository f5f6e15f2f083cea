#include "client/operate/client_verbs.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <time.h>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/print.h"
#include "base/printable.h"
#include "client/backup/progress.h"
#include "client/monitor/monitor_client.h"
#include "client/monitor/reply.h"
#include "client/operate/client_state.h"
#include "client/operate/inventory.h"
#include "client/operate/table.h"

namespace blockexport::operate {
namespace {

using monitor::escaped;
using monitor::MonitorClient;

// The daemon's limit.
constexpr std::uint64_t kBanSecondsMax = 7 * 86400;

// Local time, such as "2026-02-03 04:05:06".
std::string time_text(std::uint64_t since_s) {
  const auto seconds = static_cast<time_t>(since_s);
  tm parts{};
  if (localtime_r(&seconds, &parts) == nullptr || parts.tm_year > 8099) return "-";
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", parts);
}

std::string oldest_text(const ClientState& state) {
  return state.oldest_request_ms ? fmt::format("{} ms", *state.oldest_request_ms) : "-";
}

TableRow row_of(const ClientState& state) {
  return {fmt::format("{}", state.number),
          escaped(state.export_id),
          escaped(state.peer),
          state.identity.empty() ? "-" : escaped(state.identity),
          state.tls_version.empty() ? "-" : escaped(state.tls_version),
          time_text(state.since_s),
          escaped(state.phase),
          state.is_writable ? "read-write" : "read-only",
          fmt::format("{}", state.in_flight),
          oldest_text(state),
          backup::size_text(state.read_bytes),
          backup::size_text(state.write_bytes)};
}

Result<std::uint64_t> client_number(const std::string& text) {
  const std::string_view digits = std::string_view(text).substr(text.starts_with('#') ? 1 : 0);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (!digits.empty() && error == std::errc() && end == digits.data() + digits.size() && number <= INT64_MAX) {
    return number;
  }
  return fail(Error(fmt::format("'{}' is no number of a client", printable(text)))
                  .with_hint("`blockexport clients` lists the clients with their numbers."));
}

Result<std::uint64_t> ban_seconds(const std::string& text) {
  constexpr std::pair<char, std::uint64_t> kUnits[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
  std::string_view digits = text;
  std::uint64_t unit_seconds = 1;
  for (const auto& [letter, seconds] : kUnits) {
    if (!text.ends_with(letter)) continue;
    digits.remove_suffix(1);
    unit_seconds = seconds;
  }
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool is_number = !digits.empty() && error == std::errc() && end == digits.data() + digits.size();
  if (is_number && number >= 1 && number <= kBanSecondsMax / unit_seconds) return number * unit_seconds;
  return fail(Error(fmt::format("--ban {}: this is no time from 1 second to 7 days", printable(text)))
                  .with_hint("A time is a number of seconds, or a number and s, m, h or d, such as 10m."));
}

}  // namespace

Result<> print_clients(const ClientsOptions& options) {
  const monitor::MonitorOptions& monitor = options.monitor;
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(monitor.path, monitor.timeout_seconds));
  TRY_ASSIGN(const json::Value reply, execute_if_known(client, "query-export-clients", {}));
  if (!options.export_id.empty()) TRY(find_export(client, options.export_id));
  const auto is_meant = [&](std::string_view export_id) {
    return options.export_id.empty() || export_id == options.export_id;
  };
  if (monitor.is_json) {
    json::Array meant;
    for (const json::Value& one : monitor::elements_of(reply)) {
      const json::Object* const entry = one.as_object();
      if (entry != nullptr && is_meant(monitor::text_of(*entry, "export"))) meant.push_back(one);
    }
    monitor::print_json(std::move(meant));
    return {};
  }
  std::vector<TableRow> rows{{"CLIENT", "EXPORT", "PEER", "IDENTITY", "TLS", "SINCE", "PHASE", "ACCESS", "IN FLIGHT",
                              "OLDEST", "READ", "WRITTEN"}};
  for (const ClientState& state : clients_in(reply)) {
    if (is_meant(state.export_id)) rows.push_back(row_of(state));
  }
  print(stdout, "{}", table_text(rows, "><<<<<<<>>>>"));
  return {};
}

Result<> kick_clients(const KickOptions& options) {
  json::Object selectors;
  if (!options.client.empty()) {
    TRY_ASSIGN(const std::uint64_t number, client_number(options.client));
    selectors.set("client", number);
  }
  if (!options.identity.empty()) selectors.set("identity", options.identity);
  if (!options.export_id.empty()) selectors.set("export", options.export_id);
  if (options.ban) {
    TRY_ASSIGN(const std::uint64_t seconds, ban_seconds(*options.ban));
    selectors.set("ban-seconds", seconds);
  }
  const monitor::MonitorOptions& monitor = options.monitor;
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(monitor.path, monitor.timeout_seconds));
  if (!options.export_id.empty()) TRY(find_export(client, options.export_id));
  TRY_ASSIGN(const json::Value reply, execute_if_known(client, "export-client-disconnect", std::move(selectors)));
  const json::Object* const result = reply.as_object();
  const auto count_of = [result](std::string_view name) {
    return result != nullptr ? monitor::count_of(*result, name).value_or(0) : 0;
  };
  const std::uint64_t count = count_of("disconnected");
  const std::uint64_t banned = count_of("banned");
  if (monitor.is_json) {
    json::Object shown{{"disconnected", count}};
    if (options.ban) shown.set("banned", banned);
    monitor::print_json(std::move(shown));
  } else {
    if (count > 0) print(stdout, "{} client{} disconnected\n", count, count == 1 ? " is" : "s are");
    if (banned > 0) {
      print(stdout, "{} peer{} banned for {}\n", banned, banned == 1 ? " is" : "s are", options.ban.value_or(""));
    }
  }
  if (count > 0 || banned > 0) return {};
  return fail(Error("No client matches").with_hint("`blockexport clients` lists the clients."));
}

}  // namespace blockexport::operate
