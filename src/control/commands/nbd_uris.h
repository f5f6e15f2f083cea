// URIs of exports at the NBD servers that show them. Thread: the control reactor.
#pragma once

#include <string>
#include <vector>

#include "control/core/servers.h"

namespace blockexport::control {

// One for each address of the server, each once.
std::vector<std::string> uris_at(const nbd::Server& server, const std::string& export_name);

// One for each address of each server that shows the export; none if no server does.
std::vector<std::string> uris_of_export(const Servers& servers, const std::string& export_name);

}  // namespace blockexport::control
