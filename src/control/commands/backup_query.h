// Descriptions of running backups, for query-backups and backup-begin. Thread: the control reactor.
#pragma once

#include <string>
#include <vector>

#include "aio/task/task.h"
#include "control/backup/backup.h"
#include "schema/backup.h"

namespace blockexport::control {

class Control;

// The reason why the point in time of the disk was given up; nothing while it can be read.
std::optional<std::string> reason_of_loss(Control& control, const BackupDisk& disk);

// The running backups, oldest first.
aio::Task<std::vector<schema::BackupInfo>> describe_backups(Control& control);

}  // namespace blockexport::control
