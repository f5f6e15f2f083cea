// How the commands' removal modes map to the exports'.
#pragma once

#include <optional>

#include "export/export.h"
#include "schema/block_export.h"

namespace blockexport::control {

exports::RemoveMode to_remove_mode(std::optional<schema::BlockExportRemoveMode> mode);

}  // namespace blockexport::control
