// CommandEntry: entry of a command in the generated dispatch table, which is sorted by name.
//
// Thread: the table is constant; run() is for the control thread.
#pragma once

#include <span>
#include <string_view>

#include "aio/task/task.h"
#include "base/error.h"
#include "json/value.h"

namespace blockexport::control {
class Control;
}

namespace blockexport::schema {

struct CommandEntry {
  // Decodes the arguments (null when the client sent none), runs the handler, and encodes its result ({} for none).
  // `arguments` outlives the task.
  using Run = aio::Task<Result<json::Value>> (*)(control::Control& control, const json::Value* arguments);

  std::string_view name;
  bool allow_preconfig;
  bool allow_oob;
  Run run;
};

// The entry of that name, or null. `table` is sorted by name.
const CommandEntry* find_command(std::span<const CommandEntry> table, std::string_view name);

}  // namespace blockexport::schema
