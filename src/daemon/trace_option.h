// The option --trace [[enable=]PATTERN][,events=FILE][,file=FILE]: selects trace events and their file. Main thread.
#pragma once

#include <optional>

#include "base/log.h"
#include "base/trace.h"
#include "daemon/command_line.h"

namespace blockexport::daemon {

// Configures `trace`, and logs a warning about an unknown event. Returns an exit code when the program shall end: the
// list of events was requested and printed, or the file of patterns cannot be read, which was logged. Errors: an
// unknown parameter, a file that cannot be opened.
Result<std::optional<int>> run_trace_option(const StartOption& option, Trace& trace, const Log& log);

}  // namespace blockexport::daemon
