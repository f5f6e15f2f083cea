// The monitor that a daemon with a configuration file has when neither the file nor the command line makes one: a unix
// socket in the daemon's directory below /run, for its user and group.
//
// Thread: the control reactor, at the start.
#pragma once

#include "aio/task/task.h"
#include "control/core/control.h"

namespace blockexport::daemon {

// Directory of the socket, unless the environment has RUNTIME_DIRECTORY, as systemd sets it; and name of the socket.
inline constexpr const char* kRuntimeDirectory = "/run/blockexport";
inline constexpr const char* kDefaultMonitorSocket = "qmp.sock";
// ID of the monitor and of its chardev.
inline constexpr const char* kDefaultMonitorId = "default-monitor";

// Makes it if there is no monitor, and the directory exists and can be written. Failures are warnings in the log.
aio::Task<void> make_default_monitor(control::Control& control);

}  // namespace blockexport::daemon
