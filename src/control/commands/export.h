// Functions shared by the commands for exports and for nodes: removal modes, and an export's edge in the graph.
#pragma once

#include <optional>
#include <vector>

#include "aio/threads/data_reactor.h"
#include "export/export.h"
#include "schema/block_export.h"

namespace blockexport::control {

class Control;

// Checks the options that exports of all types have: the id is valid and free, the node exists and can be written if
// the export is to be writable, and the iothreads exist.
Result<> check_export(Control& control, const schema::BlockExportOptions& options);

// Name of an export in the graph, and its permissions on its node. The node may not shrink, because clients cannot
// learn of a new size. Growth is allowed: clients that connect later see the new size.
block::EdgeParent export_parent();
block::Permissions export_permissions(bool writable);

// The reactors of the iothread objects that the export names, each once; none when it names none. Errors: a list
// together with fixed-iothread, an empty list, an object that is named twice, does not exist, or is no iothread.
Result<std::vector<aio::DataReactor*>> find_iothreads(Control& control, const schema::BlockExportOptions& options);

exports::RemoveMode to_remove_mode(std::optional<schema::BlockExportRemoveMode> mode);

}  // namespace blockexport::control
