// What a node was opened from, as QMP tells it: the file's name where that says it all, else the options that matter as
// "json:{...}". Pure function of the graph; control reactor.
#pragma once

#include <string>

#include "block/graph.h"

namespace blockexport::block {

std::string file_description(const Graph& graph, const Node& node);

}  // namespace blockexport::block
