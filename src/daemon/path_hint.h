// Where on the way to a path that cannot be opened the way ends: "No such file or directory" does not say it.
//
// For options of the command line alone, when the start has failed: it asks the file system and may wait for it. Main
// thread.
#pragma once

#include <string>
#include <string_view>

#include "daemon/command_line.h"

namespace blockexport::daemon {

// The first directory of `path` that is missing, is none, or may not be searched, or the link at its end that leads
// nowhere, as a sentence. Empty when there is none of these.
std::string path_hint(const std::string& path);

// The same for the path in the argument of `option` that an error's `message` is about. Empty when it is about none.
std::string path_hint(const StartOption& option, std::string_view message);

}  // namespace blockexport::daemon
