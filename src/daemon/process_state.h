// What this process asks of the kernel before it does anything: that input and output never end it, and that it, or who
// gets hold of it, never becomes more than it is.
//
// Main thread, before other threads are started: they inherit it. None of it can fail in a way that matters.
#pragma once

#include "daemon/command_line.h"

namespace blockexport::daemon {

// A write to a pipe or file that takes no more (SIGPIPE, SIGXFSZ), and input or output at a terminal that another job
// has (SIGTTIN, SIGTTOU) or that is signalled (SIGIO), are errors of the call and not the end of all clients.
void outlive_io_signals();

// No program that this process starts gets more rights than it has (no_new_privs), except where the line has an
// authz-pam object: modules of PAM start such programs. No core is written: what clients store would be in it.
void restrict_process(const CommandLine& line);

}  // namespace blockexport::daemon
