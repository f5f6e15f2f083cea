// What the commands on exports share with those on nodes: removal modes, and an export's part in the graph.
#pragma once

#include <optional>

#include "export/export.h"
#include "schema/block_export.h"

namespace blockexport::control {

// How an export appears in the graph, and what it needs of its node there. The node may not shrink, because a client
// that was told a size never learns of another. Growth does no harm: clients that connect later see the new size.
block::EdgeParent export_parent();
block::Permissions export_permissions(bool writable);

exports::RemoveMode to_remove_mode(std::optional<schema::BlockExportRemoveMode> mode);

}  // namespace blockexport::control
