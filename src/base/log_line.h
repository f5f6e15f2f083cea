// Format of a log line. Thread: any.
#pragma once

#include <string>
#include <string_view>

#include "base/log_level.h"

namespace blockexport {

// The line with its newline: "PROGRAM: warning: MESSAGE", with `location` in place of the first ": ". Control bytes
// become \xNN.
std::string log_line(std::string_view program_name, LogLevel level, std::string_view location,
                     std::string_view message);

}  // namespace blockexport
