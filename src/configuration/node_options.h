// Options of nodes in a configuration: their order, the image that they name, and the node of an export.
//
// Pure functions; thread: any.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "schema/config.h"

namespace blockexport::configuration {

// Names of the nodes of the graph to which options refer, directly or in a definition inside.
std::set<std::string> references_of(const schema::BlockdevOptions& options);
// The node-names that options and the definitions inside them give.
std::vector<std::string> names_in(const schema::BlockdevOptions& options);

// True if both options describe the same images with the same drivers and children, so that a node can be reopened with
// the others.
bool have_same_images(const schema::BlockdevOptions& a, const schema::BlockdevOptions& b);

// The nodes of section "nodes" with each one behind those to which it refers; nullopt when they refer to each other in
// a circle.
std::optional<std::vector<schema::BlockdevOptions>> in_opening_order(const std::vector<schema::BlockdevOptions>& nodes);

// The options of the own node of an export, with a name: the one that they give, or the ID of the export. Nullopt when
// it uses a node of another section.
std::optional<schema::BlockdevOptions> own_node_of(const schema::ExportConfiguration& one);

// The options of an export for the NBD server.
schema::BlockExportOptions export_options_of(const schema::ExportConfiguration& one);

}  // namespace blockexport::configuration
