// Access to images of drivers that only read: their nodes are read-only unless the options ask for more.
//
// Pure functions; any thread.
#pragma once

#include <string_view>

#include "base/error.h"
#include "schema/block_core.h"

namespace blockexport::drivers::foreign {

// Fails when the options explicitly ask for a node that can be written. Without `read-only` the node is read-only.
Result<> check_read_only(const schema::BlockdevOptions& options, std::string_view format_name);

}  // namespace blockexport::drivers::foreign
