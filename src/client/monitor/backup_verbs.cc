#include "client/monitor/backup_verbs.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <span>
#include <utility>

#include "base/print.h"
#include "client/monitor/reply.h"
#include "json/value.h"

namespace blockexport::monitor {
namespace {

Result<json::Value> execute(const MonitorOptions& options, const std::string& command, json::Object arguments) {
  Result<MonitorClient> client = MonitorClient::connect(options.path, options.timeout_seconds);
  if (!client) return fail(std::move(client.error()));
  return client->execute(command, std::move(arguments));
}

std::string first_uri(const json::Object& disk) {
  const std::span<const json::Value> uris = list_of(disk, "uris");
  const std::string* uri = uris.empty() ? nullptr : uris.front().as_string();
  return uri != nullptr ? escaped(*uri) : "no export";
}

void print_disks(const json::Object& backup) {
  for (const json::Value& entry : list_of(backup, "disks")) {
    const json::Object* disk = entry.as_object();
    if (disk == nullptr) continue;
    const char* kind = disk->find("bitmap") != nullptr ? "incremental" : "full";
    print(stdout, "{}  {}  {}  {}\n", escaped(text_of(*disk, "node-name")), kind, escaped(text_of(*disk, "state")),
          first_uri(*disk));
    const std::string_view reason = text_of(*disk, "reason");
    if (!reason.empty()) print(stdout, "  {}\n", escaped(reason));
  }
}

json::Value disk_of(std::string_view text) {
  const std::size_t equals = text.find('=');
  json::Object disk{{"node-name", text.substr(0, equals)}};
  if (equals != std::string_view::npos) disk.set("export", text.substr(equals + 1));
  return disk;
}

}  // namespace

Result<> backup_begin(const BackupBeginOptions& options) {
  json::Array disks;
  for (const std::string& disk : options.disks) disks.push_back(disk_of(disk));
  json::Object arguments{{"id", options.id}, {"disks", std::move(disks)}};
  if (!options.checkpoint.empty()) arguments.set("checkpoint", options.checkpoint);
  if (!options.scratch_directory.empty()) {
    // The daemon may have another working directory.
    std::error_code failure;
    const std::filesystem::path directory = std::filesystem::absolute(options.scratch_directory, failure);
    if (failure) return fail(Error::system("Cannot tell the working directory", Errno(failure.value())));
    arguments.set("scratch-directory", directory.string());
  }
  if (options.cbw_timeout_seconds) arguments.set("cbw-timeout", *options.cbw_timeout_seconds);
  Result<json::Value> begun = execute(options.monitor, "backup-begin", std::move(arguments));
  if (!begun) return fail(std::move(begun.error()));
  if (options.monitor.is_json) {
    print_json(*begun);
  } else if (const json::Object* backup = begun->as_object()) {
    print_disks(*backup);
  }
  return {};
}

Result<> backup_end(const BackupEndOptions& options) {
  json::Object arguments{{"id", options.id}, {"outcome", options.outcome}};
  if (options.force) arguments.set("force", true);
  Result<json::Value> ended = execute(options.monitor, "backup-end", std::move(arguments));
  if (!ended) return fail(std::move(ended.error()));
  return {};
}

Result<> backup_list(const MonitorOptions& options) {
  Result<json::Value> backups = execute(options, "query-backups", {});
  if (!backups) return fail(std::move(backups.error()));
  if (options.is_json) {
    print_json(*backups);
    return {};
  }
  const json::Array* list = backups->as_array();
  if (list == nullptr) return fail("The daemon answered query-backups with something else than a list");
  for (const json::Value& entry : *list) {
    const json::Object* backup = entry.as_object();
    if (backup == nullptr) continue;
    print(stdout, "{}  {}  since {}\n", escaped(text_of(*backup, "id")), escaped(text_of(*backup, "state")),
          escaped(text_of(*backup, "point-in-time")));
    print_disks(*backup);
  }
  return {};
}

}  // namespace blockexport::monitor
