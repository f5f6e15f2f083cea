// Process attributes that main() sets first: I/O signals are ignored, core dumps are off, privileges cannot grow, and
// the process enters its sandbox.
//
// Main thread, before other threads are started, which inherit them. Errors are ignored where the daemon works without
// them too.
#pragma once

#include "daemon/command_line.h"

namespace blockexport::daemon {

// Ignores SIGPIPE, SIGXFSZ, SIGIO, SIGTTIN and SIGTTOU, so that a write to a closed pipe or beyond the file size limit,
// and terminal I/O of a background job, fail with an error instead of ending or stopping the process.
void outlive_io_signals();

// Sets no_new_privs, so that a program that this process starts gains no privileges, unless the line has an authz-pam
// object: PAM modules start such programs. Turns core dumps off, since they would contain data of clients.
void restrict_process(const CommandLine& line);

// Becomes the user of the line and enters its sandbox. Errors: see daemon/sandbox.h; an authz-pam object in a sandbox.
Result<> give_up_rights(const CommandLine& line);

}  // namespace blockexport::daemon
