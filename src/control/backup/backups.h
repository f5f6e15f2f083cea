// Backups: the running backups by id, and the changes of the graph that begin and end them.
//
// Owned by Control. One backup begins or ends at a time: whoever calls begin(), end() or forget() holds changes().
// When the daemon ends, the backups that still run are aborted, so that no bitmap misses a change. Thread: the control
// reactor.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "aio/sync/sync.h"
#include "base/log.h"
#include "block/graph.h"
#include "control/backup/backup.h"
#include "export/registry.h"

namespace blockexport::control {

class Backups {
 public:
  static constexpr std::size_t kBackupsMax = 64;

  // All arguments outlive it.
  Backups(aio::Reactor& reactor, block::Graph& graph, exports::Registry& exports, const Log& log)
      : reactor_(reactor), graph_(graph), exports_(exports), log_(log), changes_(reactor) {}
  // After abort_all().
  ~Backups();
  Backups(const Backups&) = delete;
  Backups& operator=(const Backups&) = delete;

  // Errors: another backup uses its id, a checkpoint or a scratch node of it, or there are too many.
  Result<> check(const Backup& backup) const;
  // Adds a backup that was checked: its id, checkpoints and scratch nodes are in use from now on.
  void add(std::unique_ptr<Backup> backup);
  // Null when there is none; a backup that is being begun is found too.
  Backup* find(std::string_view id) const;
  // Oldest first.
  const std::vector<std::unique_ptr<Backup>>& all() const { return backups_; }

  aio::Mutex& changes() { return changes_; }

  // Puts filters and access nodes above the disks of a backup that was added, and rotates the checkpoints. A failure
  // changes nothing.
  aio::Task<Result<>> begin(std::string id);
  // Ends the exports, whatever their clients do, removes the nodes, and rotates the checkpoints; then forgets the
  // backup. After a failure it runs on, perhaps without exports, and this may be called again.
  aio::Task<Result<>> end(std::string id, schema::BackupOutcome outcome);
  // Drops a backup that did not begin.
  void forget(std::string_view id);
  // True if an export of that backup exists. Its user may have removed it, and even given its id to another one.
  bool has_export(const BackupDisk& disk) const;

  // Ends all running backups with the outcome abort; the log lists them. No other one begins meanwhile.
  aio::Task<void> abort_all();

 private:
  aio::Task<Result<>> remove_exports(std::string id);
  aio::Task<Result<>> change(std::string id, schema::BackupOutcome outcome);
  aio::Task<void> release(std::string id);
  void report_leftovers(const Backup& backup) const;
  // Newest first.
  std::vector<std::string> running_ids() const;

  aio::Reactor& reactor_;
  block::Graph& graph_;
  exports::Registry& exports_;
  const Log& log_;
  aio::Mutex changes_;
  std::vector<std::unique_ptr<Backup>> backups_;
};

}  // namespace blockexport::control
