// The option --trace [[enable=]PATTERN][,events=FILE][,file=FILE]: which events are traced, and where to.
#pragma once

#include <optional>

#include "base/log.h"
#include "base/trace.h"
#include "daemon/command_line.h"

namespace blockexport::daemon {

// Switches `trace`. A name that no event has is warned about through `log`. An exit code: the list of events was asked
// for and printed, or the file of patterns cannot be read and that was said. Errors: an unknown parameter, a log file
// that cannot be opened.
Result<std::optional<int>> run_trace_option(const StartOption& option, Trace& trace, const Log& log);

}  // namespace blockexport::daemon
