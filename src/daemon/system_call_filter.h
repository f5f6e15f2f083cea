// System call filter: permits only the system calls that the daemon uses (seccomp(2), by libseccomp). The others fail
// with EPERM, and clone3 with ENOSYS, so that the C library uses clone, whose flags a filter can see. Main thread,
// before any other thread runs.
#pragma once

#include "base/error.h"

namespace blockexport::daemon {

// True if the daemon was built with libseccomp.
bool has_system_call_filter();

// Installs the filter, which holds for all later threads and cannot be removed. Errors: the build or the kernel has no
// seccomp.
Result<> filter_system_calls();

}  // namespace blockexport::daemon
