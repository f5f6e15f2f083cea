#include "drivers/foreign/read_only.h"

#include <fmt/format.h>

namespace blockexport::drivers::foreign {

Result<> check_read_only(const schema::BlockdevOptions& options, std::string_view format_name) {
  if (options.read_only.value_or(true) || options.auto_read_only.value_or(false)) return {};
  return fail(Error(fmt::format("Block driver '{}' is read-only here: it cannot write to its images", format_name))
                  .with_hint("Leave out read-only=off, and convert the image to qcow2 or raw to write to the disk."));
}

}  // namespace blockexport::drivers::foreign
