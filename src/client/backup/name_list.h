// Lists of names from a server for messages. Thread: any.
#pragma once

#include <string>
#include <vector>

namespace blockexport::backup {

// "'a', 'b', ...": at most ten names, each without control bytes and with a limited length.
std::string list_names(const std::vector<std::string>& names);

}  // namespace blockexport::backup
