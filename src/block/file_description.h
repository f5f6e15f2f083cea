// Description of a node's source in QMP: the file's name where that is sufficient, otherwise the relevant options as
// "json:{...}". Pure function of the graph; control reactor.
#pragma once

#include <string>

#include "block/graph.h"

namespace blockexport::block {

std::string file_description(const Graph& graph, const Node& node);

}  // namespace blockexport::block
