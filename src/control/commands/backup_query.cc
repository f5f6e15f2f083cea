#include "control/commands/backup_query.h"

#include <fmt/format.h>

#include <ctime>

#include "block/graph_info.h"
#include "block/point_in_time.h"
#include "control/commands/nbd_uris.h"
#include "control/core/control.h"

namespace blockexport::control {
namespace {

constexpr std::int64_t kMicrosecondsPerSecond = 1'000'000;

// RFC 3339, in UTC.
std::string time_text(std::int64_t wall_us) {
  const std::time_t seconds = wall_us / kMicrosecondsPerSecond;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, wall_us % kMicrosecondsPerSecond);
}

schema::BackupDiskInfo disk_info(Control& control, const Backup& backup, const BackupDisk& disk) {
  schema::BackupDiskInfo info{.node_name = disk.node_name,
                              .export_ = disk.export_name,
                              .export_id = disk.export_id,
                              .exported = control.backups().has_export(disk),
                              .size = disk.size_bytes};
  if (info.exported) info.uris = uris_of_export(control.servers(), disk.export_name);
  if (disk.checkpoint.kind == CheckpointPlan::Kind::kIncremental) info.bitmap = backup.checkpoint;
  info.reason = reason_of_loss(control, disk);
  info.state = info.reason ? schema::BackupState::kBroken : schema::BackupState::kActive;
  return info;
}

schema::BackupInfo info_of(Control& control, const Backup& backup) {
  schema::BackupInfo info{.id = backup.id,
                          .point_in_time = time_text(backup.point_wall_us),
                          .checkpoint = backup.checkpoint,
                          .state = schema::BackupState::kActive};
  for (const BackupDisk& disk : backup.disks) {
    info.disks.push_back(disk_info(control, backup, disk));
    if (info.disks.back().state == schema::BackupState::kBroken) info.state = schema::BackupState::kBroken;
  }
  return info;
}

}  // namespace

std::optional<std::string> reason_of_loss(Control& control, const BackupDisk& disk) {
  block::Node* filter = control.graph().find(disk.filter_name);
  const block::PointInTime* point = filter != nullptr ? filter->driver().point_in_time() : nullptr;
  if (point == nullptr) return fmt::format("Node '{}' has been replaced", disk.filter_name);
  const std::optional<Errno> cause = point->given_up_because();
  if (!cause) return std::nullopt;
  return fmt::format("The old contents of a change could not be copied to node '{}': {}", disk.scratch_name,
                     errno_text(*cause));
}

aio::Task<std::vector<schema::BackupInfo>> describe_backups(Control& control) {
  std::vector<schema::BackupInfo> infos;
  std::vector<std::string> scratch_names;  // of all disks of `infos`
  for (const auto& backup : control.backups().all()) {
    if (!backup->is_running) continue;
    infos.push_back(info_of(control, *backup));
    for (const BackupDisk& disk : backup->disks) scratch_names.push_back(disk.scratch_name);
  }
  std::size_t next = 0;
  for (schema::BackupInfo& info : infos) {
    for (schema::BackupDiskInfo& disk : info.disks) {
      disk.scratch_bytes = co_await block::allocated_bytes(control.graph(), scratch_names[next++]);
    }
  }
  co_return infos;
}

}  // namespace blockexport::control
