// Commands backup-begin, backup-end and query-backups.

#include <fmt/format.h>

#include <algorithm>

#include "aio/sync/shielded.h"
#include "aio/sync/with_deadline.h"
#include "control/backup/scratch_file.h"
#include "control/commands/backup_plan.h"
#include "control/commands/backup_query.h"
#include "control/core/control.h"
#include "schema/backup_commands.h"
#include "schema/block_export_commands.h"

namespace blockexport::control {
namespace {

// Time that the clients of a backup have to disconnect before it ends with success, and the pause between two looks.
constexpr std::uint64_t kClientsLeaveMaxNs = 1'000'000'000;
constexpr std::uint64_t kClientsLeavePauseNs = 5'000'000;

// Appends the paths of the files that it has made to `made`, also when it fails.
aio::Task<Result<>> make_scratch_files(Control& control, std::string id, std::string directory,
                                       std::vector<std::string>& made) {
  // Nobody else removes a backup that does not run yet.
  for (BackupDisk& disk : control.backups().find(id)->disks) {
    if (!disk.makes_scratch) continue;
    CO_TRY_ASSIGN(disk.scratch_path, co_await make_scratch_file(directory, disk.scratch_name, disk.size_bytes));
    made.push_back(disk.scratch_path);
  }
  co_return Result<>();
}

// The nodes have the files open, or will never open them.
aio::Task<void> remove_scratch_names(Control& control, std::vector<std::string> paths) {
  for (std::string& path : paths) {
    Result<> removed = co_await remove_scratch_name(std::move(path));
    if (!removed) control.log().warning(removed.error().message());
  }
}

schema::BlockExportOptions export_options(const Backup& backup, const BackupDisk& disk) {
  schema::BlockExportOptionsNbd nbd{.name = disk.export_name};
  if (disk.checkpoint.kind == CheckpointPlan::Kind::kIncremental) {
    nbd.bitmaps.emplace();
    nbd.bitmaps->push_back({.value = schema::BlockDirtyBitmap{.node = disk.node_name, .name = *backup.checkpoint}});
  }
  schema::BlockExportOptions options{.id = disk.export_id, .node_name = disk.access_name, .writable = false};
  options.branch = std::move(nbd);
  return options;
}

// Adds the exports of a backup that was begun. If one cannot be added, the backup ends as if it never began.
aio::Task<Result<>> publish(Control& control, std::string id) {
  std::vector<schema::BlockExportOptions> exports;
  for (const BackupDisk& disk : control.backups().find(id)->disks) {
    exports.push_back(export_options(*control.backups().find(id), disk));
  }
  Result<> added;
  for (schema::BlockExportOptions& options : exports) {
    added = co_await block_export_add(control, std::move(options));
    if (!added) break;
  }
  control.backups().find(id)->is_running = true;
  if (added) co_return added;
  Result<> ended = co_await control.backups().end(id, schema::BackupOutcome::kAbort);
  if (!ended) control.log().warning(ended.error().message());
  co_return added;
}

// Begins a backup that was added; forgets it if that fails. Other backups neither begin nor end meanwhile.
aio::Task<Result<>> begin(Control& control, std::string id) {
  auto turn = co_await control.backups().changes().lock();
  Result<> begun;
  if (!turn) {
    begun = fail(Error::system("Another backup is beginning or ending", turn.error()));
  } else if (control.is_shutting_down()) {
    begun = fail("The daemon is shutting down");
  } else {
    begun = co_await control.backups().begin(id);
  }
  if (!begun) {
    control.backups().forget(id);
    co_return begun;
  }
  aio::Task<Result<>> publishing = publish(control, id);
  co_return co_await aio::shielded("backup exports", std::move(publishing));
}

aio::Task<Result<schema::BackupInfo>> describe(Control& control, std::string id) {
  std::vector<schema::BackupInfo> infos = co_await describe_backups(control);
  auto found = std::ranges::find(infos, id, &schema::BackupInfo::id);
  if (found == infos.end()) co_return fail(fmt::format("Backup '{}' was ended by another command", id));
  co_return std::move(*found);
}

Result<const Backup*> find_running(Control& control, const std::string& id) {
  const Backup* backup = control.backups().find(id);
  if (backup != nullptr && backup->is_running) return backup;
  return fail(Error(fmt::format("Backup '{}' not found", id)).with_hint("query-backups lists the running backups."));
}

Result<> check_success(Control& control, const Backup& backup) {
  for (const BackupDisk& disk : backup.disks) {
    if (std::optional<std::string> reason = reason_of_loss(control, disk)) {
      return fail(Error(fmt::format("Backup '{}' is broken and can only be ended with the outcome abort: disk '{}': {}",
                                    backup.id, disk.node_name, *reason))
                      .with_hint("The changes stay in the checkpoint, and the next backup includes them."));
    }
  }
  return {};
}

// The id of an export with clients; empty when there is none.
std::string export_with_clients(Control& control, const Backup& backup) {
  for (const BackupDisk& disk : backup.disks) {
    const exports::Export* found = control.exports().find(disk.export_id);
    if (control.backups().has_export(disk) && found->client_count() > 0) return disk.export_id;
  }
  return {};
}

// A client that has just disconnected is still listed for a moment.
aio::Task<Result<>> wait_for_clients(Control& control, std::string id) {
  aio::Reactor& reactor = control.reactor();
  const std::uint64_t deadline_ns = aio::deadline_after(reactor, kClientsLeaveMaxNs);
  for (;;) {
    const Backup* backup = control.backups().find(id);
    const std::string busy = backup != nullptr ? export_with_clients(control, *backup) : std::string();
    if (busy.empty()) co_return Result<>();
    if (reactor.now_ns() >= deadline_ns) {
      co_return fail(Error(fmt::format("Backup '{}' has clients that are connected to export '{}'", id, busy))
                         .with_hint("They may not have read everything. Disconnect them, or set 'force'."));
    }
    if (!co_await reactor.sleep_until(reactor.now_ns() + kClientsLeavePauseNs))
      co_return fail("backup-end was cancelled");
  }
}

}  // namespace

aio::Task<Result<schema::BackupInfo>> backup_begin(Control& control, schema::BackupBeginArguments arguments) {
  CO_TRY_ASSIGN(std::unique_ptr<Backup> planned, plan_backup(control, arguments));
  control.backups().add(std::move(planned));
  std::vector<std::string> scratch_paths;
  const std::string directory = arguments.scratch_directory.value_or("");
  Result<> begun = co_await make_scratch_files(control, arguments.id, directory, scratch_paths);
  if (begun) {
    begun = co_await begin(control, arguments.id);
  } else {
    control.backups().forget(arguments.id);
  }
  co_await remove_scratch_names(control, std::move(scratch_paths));
  CO_TRY(std::move(begun));
  co_return co_await describe(control, arguments.id);
}

aio::Task<Result<>> backup_end(Control& control, schema::BackupEndArguments arguments) {
  CO_TRY_ASSIGN(const Backup* backup, find_running(control, arguments.id));
  if (arguments.outcome == schema::BackupOutcome::kSuccess) {
    CO_TRY(check_success(control, *backup));
    if (!arguments.force.value_or(false)) CO_TRY(co_await wait_for_clients(control, arguments.id));
  }
  auto turn = co_await control.backups().changes().lock();
  if (!turn) co_return fail(Error::system("Another backup is beginning or ending", turn.error()));
  CO_TRY(find_running(control, arguments.id));
  co_return co_await control.backups().end(arguments.id, arguments.outcome);
}

aio::Task<Result<std::vector<schema::BackupInfo>>> query_backups(Control& control) {
  co_return co_await describe_backups(control);
}

}  // namespace blockexport::control
