// check_fully(): the errors of a configuration that only the daemon's own code can find, for --check-config.
//
// Thread: the control reactor of a process that serves nobody.
#pragma once

#include "aio/task/task.h"
#include "configuration/reading.h"

namespace blockexport::control {

class Control;

// Makes the objects of a configuration that passed configuration::check(), and checks its servers; with `is_deep` also
// loads files of objects, and opens all nodes, read-only and without image locks. Adds the errors to its findings. Only
// nodes stay, until the daemon ends. Both arguments outlive the call.
aio::Task<void> check_fully(Control& control, configuration::ReadConfiguration& read, bool is_deep);

}  // namespace blockexport::control
