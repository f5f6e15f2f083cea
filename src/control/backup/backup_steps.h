// The steps of the changes of the graph that begin and end a backup.
//
// Each list is one change, so that all disks have one point in time, and either all of them take part or none does.
// Thread: the control reactor.
#pragma once

#include <vector>

#include "block/graph.h"
#include "control/backup/backup.h"

namespace blockexport::control {

// `backup` outlives the change, which sets its edges and bitmaps.
std::vector<block::GraphStep> begin_steps(Backup& backup);

// `backup` outlives the change, which takes the edges of the access nodes. The bitmaps that record are not busy any
// more: the caller has ended their use.
std::vector<block::GraphStep> end_steps(const block::Graph& graph, Backup& backup, schema::BackupOutcome outcome);

}  // namespace blockexport::control
