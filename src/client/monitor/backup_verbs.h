// `blockexport backup begin`, `end` and `list`: backups of disks in use, which the daemon runs (docs/backup.md).
//
// Main thread; they block until the daemon has answered. They print to standard output; errors are returned.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "client/monitor/monitor_client.h"

namespace blockexport::monitor {

struct MonitorOptions {
  std::string path = kMonitorPathDefault;  // the unix socket of a QMP monitor
  std::uint32_t timeout_seconds = kTimeoutSecondsDefault;
  bool is_json = false;  // print the daemon's value
};

// As the arguments of backup-begin in schema/backup.json.
struct BackupBeginOptions {
  MonitorOptions monitor;
  std::string id;
  std::vector<std::string> disks;  // NODE, or NODE=EXPORT
  std::string checkpoint;          // "": none
  std::string scratch_directory;
  std::optional<std::uint32_t> cbw_timeout_seconds;
};

struct BackupEndOptions {
  MonitorOptions monitor;
  std::string id;
  std::string outcome;  // "success" or "abort"
  bool force = false;
};

// Prints a line for each disk: name, "full" or "incremental", and a URI.
Result<> backup_begin(const BackupBeginOptions& options);
Result<> backup_end(const BackupEndOptions& options);
Result<> backup_list(const MonitorOptions& options);

}  // namespace blockexport::monitor
