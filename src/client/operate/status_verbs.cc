#include "client/operate/status_verbs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/print.h"
#include "client/backup/progress.h"
#include "client/monitor/monitor_client.h"
#include "client/monitor/reply.h"
#include "client/operate/inventory.h"
#include "client/operate/table.h"

namespace blockexport::operate {
namespace {

using monitor::escaped;
using monitor::MonitorClient;
using monitor::text_of;

struct Version {
  std::string program;    // name and version
  std::string interface;  // the version of QEMU whose interface it has
};

Result<Version> query_version(MonitorClient& client) {
  TRY_ASSIGN(const json::Value reply, client.execute("query-version", {}));
  const json::Object* const version = reply.as_object();
  const json::Object* const qemu = version != nullptr ? monitor::object_of(*version, "qemu") : nullptr;
  if (qemu == nullptr) return fail("The daemon answered query-version with something else than a version");
  const auto part = [&](std::string_view name) { return monitor::count_of(*qemu, name).value_or(0); };
  Version known{.program = std::string(text_of(*version, "package")),
                .interface = fmt::format("{}.{}.{}", part("major"), part("minor"), part("micro"))};
  // Other programs leave the package empty.
  if (known.program.empty()) known.program = "QEMU " + known.interface;
  return known;
}

// Number of elements that a query returns; nothing when the daemon lacks the query.
Result<std::optional<std::size_t>> count_elements(MonitorClient& client, const std::string& query) {
  const Result<json::Value> reply = execute_if_known(client, query, {});
  if (reply) return monitor::elements_of(*reply).size();
  if (reply.error().kind() == ErrorKind::kCommandNotFound) return std::nullopt;
  return fail(reply.error().clone());
}

struct Counter {
  std::string_view name;
  std::string_view query;
};

constexpr Counter kCounters[] = {{"nodes", "query-named-block-nodes"},
                                 {"jobs", "query-jobs"},
                                 {"backups", "query-backups"},
                                 {"clients", "query-export-clients"}};

json::Value value_of(const ExportState& state) {
  json::Object object{{"id", state.id},
                      {"type", state.type},
                      {"node-name", state.node.name},
                      {"shutting-down", state.is_shutting_down},
                      {"driver", state.node.driver},
                      {"filename", state.node.filename},
                      {"read-only", state.node.is_read_only}};
  if (state.node.size_bytes) object.set("virtual-size", *state.node.size_bytes);
  return object;
}

TableRow row_of(const ExportState& state) {
  const std::optional<std::uint64_t> size = state.node.size_bytes;
  return {escaped(state.id),
          escaped(state.node.name),
          escaped(state.node.driver),
          size ? backup::size_text(*size) : "-",
          state.is_shutting_down    ? "going"
          : state.node.is_read_only ? "read-only"
                                    : "open",
          escaped(state.node.filename)};
}

}  // namespace

Result<> ping(const monitor::MonitorOptions& options) {
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(options.path, options.timeout_seconds));
  TRY_ASSIGN(const Version version, query_version(client));
  if (options.is_json) {
    monitor::print_json(json::Object{{"program", version.program}, {"interface", version.interface}});
  } else {
    print(stdout, "{} answers\n", escaped(version.program));
  }
  return {};
}

Result<> print_status(const monitor::MonitorOptions& options) {
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(options.path, options.timeout_seconds));
  TRY_ASSIGN(const Version version, query_version(client));
  TRY_ASSIGN(const std::vector<ExportState> exports, query_exports(client));
  const auto going = static_cast<std::size_t>(std::ranges::count_if(exports, &ExportState::is_shutting_down));
  json::Object state{{"program", version.program},
                     {"interface", version.interface},
                     {"exports", exports.size()},
                     {"exports-shutting-down", going}};
  std::vector<TableRow> rows{{"program", escaped(version.program)},
                             {"interface", "qemu-storage-daemon " + version.interface},
                             {"exports", going == 0 ? fmt::format("{}", exports.size())
                                                    : fmt::format("{}, of which {} wait for the end of their clients",
                                                                  exports.size(), going)}};
  for (const Counter& counter : kCounters) {
    TRY_ASSIGN(const std::optional<std::size_t> count, count_elements(client, std::string(counter.query)));
    if (!count) continue;
    state.set(std::string(counter.name), *count);
    rows.push_back({std::string(counter.name), fmt::format("{}", *count)});
  }
  if (options.is_json) {
    monitor::print_json(std::move(state));
  } else {
    print(stdout, "{}", table_text(rows, "<<"));
  }
  return {};
}

Result<> print_exports(const monitor::MonitorOptions& options) {
  TRY_ASSIGN(MonitorClient client, MonitorClient::connect(options.path, options.timeout_seconds));
  TRY_ASSIGN(const std::vector<ExportState> exports, query_exports(client));
  if (options.is_json) {
    json::Array list;
    for (const ExportState& state : exports) list.push_back(value_of(state));
    monitor::print_json(std::move(list));
    return {};
  }
  std::vector<TableRow> rows{{"EXPORT", "NODE", "DRIVER", "SIZE", "STATE", "FILE"}};
  for (const ExportState& state : exports) rows.push_back(row_of(state));
  print(stdout, "{}", table_text(rows, "<<<><<"));
  return {};
}

}  // namespace blockexport::operate
