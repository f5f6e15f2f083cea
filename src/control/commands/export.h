// What the commands on exports share with those on nodes: removal modes, and an export's part in the graph.
#pragma once

#include <optional>
#include <vector>

#include "aio/data_reactor.h"
#include "export/export.h"
#include "schema/block_export.h"

namespace blockexport::control {

class Control;

// How an export appears in the graph, and what it needs of its node there. The node may not shrink, because a client
// that was told a size never learns of another. Growth does no harm: clients that connect later see the new size.
block::EdgeParent export_parent();
block::Permissions export_permissions(bool writable);

// The reactors of the iothread objects that the export names, each once; none when it names none. Errors: a list where
// there can be none, an empty list, one that names an object twice or one that is not there, or is no iothread.
Result<std::vector<aio::DataReactor*>> find_iothreads(Control& control, const schema::BlockExportOptions& options);

exports::RemoveMode to_remove_mode(std::optional<schema::BlockExportRemoveMode> mode);

}  // namespace blockexport::control
