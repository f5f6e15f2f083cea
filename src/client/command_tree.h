// command_tree(): the commands and options of the tool as JSON, which its manual page and its completion are made of:
// an option cannot exist without an entry in both.
//
// `app` is the tree that parses the command line. A pure function; main thread.
#pragma once

#include "json/value.h"

namespace CLI {
class App;
}

namespace blockexport::client {

// {"name", "description", "options": [...], "arguments": [...], "commands": [the same, ...]}, in the order of their
// definition. An option: {"names", "description", "value": its word, absent for a flag, "choices", "required",
// "repeatable"}; an argument: the same with "name" instead of names. What has no group is hidden, and left out.
json::Object command_tree(const CLI::App& app);

}  // namespace blockexport::client
