// Hint for a path that cannot be opened: names the directory or link that is missing or wrong, which "No such file or
// directory" does not.
//
// Only for options of the command line, after a failed start: it reads the file system, which may block. Main thread.
#pragma once

#include <string>
#include <string_view>

#include "daemon/command_line.h"

namespace blockexport::daemon {

// A sentence about the first directory of `path` that is missing, is no directory or is not searchable, or about a
// dangling link at its end. Empty when there is no such fault.
std::string path_hint(const std::string& path);

// The same for the path in the argument of `option` that an error's `message` names. Empty when it names none.
std::string path_hint(const StartOption& option, std::string_view message);

}  // namespace blockexport::daemon
