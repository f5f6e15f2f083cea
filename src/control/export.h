// What the commands on exports share with those on nodes: removal modes, and an export's part in the graph.
#pragma once

#include <optional>

#include "export/export.h"
#include "schema/block_export.h"

namespace blockexport::control {

// How an export appears in the graph, and what it needs of its node there. The size may not change behind its back.
block::EdgeParent export_parent();
block::Permissions export_permissions(bool writable);

exports::RemoveMode to_remove_mode(std::optional<schema::BlockExportRemoveMode> mode);

}  // namespace blockexport::control
