// Checks of backup-begin, before anything is changed. Thread: the control reactor.
#pragma once

#include <memory>

#include "base/error.h"
#include "control/backup/backup.h"
#include "schema/backup.h"

namespace blockexport::control {

class Control;

// The backup for these arguments. Errors: no NBD server, malformed names, names in use, nodes that do not exist, no
// scratch space, a checkpoint that may have missed changes.
Result<std::unique_ptr<Backup>> plan_backup(Control& control, const schema::BackupBeginArguments& arguments);

}  // namespace blockexport::control
