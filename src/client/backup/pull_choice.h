// Choice of the kind of a pull: a full one, or an incremental one with a dirty bitmap; and its rules. Thread: any.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "client/backup/manifest.h"
#include "client/backup/pull_options.h"

namespace blockexport::backup {

// The name of the dirty bitmap of an incremental pull; nothing for a full one. `offered` are the contexts of the
// export. Error: the wanted bitmap is not there, several are there and none was chosen, or options contradict each
// other.
Result<std::optional<std::string>> choose_bitmap(const PullOptions& options, const std::vector<std::string>& offered);

// Error: a point of this export and size may not follow `newest` in the directory, for the given reason.
Result<> check_follows(const PullOptions& options, const Manifest& newest, const std::string& export_name,
                       std::uint64_t disk_bytes, bool is_incremental);

}  // namespace blockexport::backup
