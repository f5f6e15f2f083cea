// Commands blockdev-add, blockdev-del, blockdev-reopen, block_resize and change-backing-file.

#include <fmt/format.h>

#include "control/core/control.h"
#include "schema/block_core_commands.h"

namespace blockexport::control {
aio::Task<Result<>> blockdev_add(Control& control, schema::BlockdevOptions arguments) {
  co_return co_await control.graph().add(std::move(arguments));
}

aio::Task<Result<>> blockdev_del(Control& control, schema::BlockdevDelArguments arguments) {
  co_return co_await control.graph().remove(std::move(arguments.node_name));
}

aio::Task<Result<>> blockdev_reopen(Control& control, schema::BlockdevReopenArguments arguments) {
  co_return co_await control.graph().reopen(std::move(arguments.options));
}

aio::Task<Result<>> block_resize(Control& control, schema::BlockResizeArguments arguments) {
  std::string name = arguments.node_name.value_or("");
  if (control.graph().find(name) == nullptr) {
    co_return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", arguments.device.value_or(""), name));
  }
  CO_TRY(co_await control.graph().resize(std::move(name), arguments.size));
  control.exports().nodes_resized();
  co_return Result<>{};
}

aio::Task<Result<>> change_backing_file(Control& control, schema::ChangeBackingFileArguments arguments) {
  co_return co_await control.graph().rename_backing({.top = std::move(arguments.device),
                                                     .name = std::move(arguments.image_node_name),
                                                     .backing_name = std::move(arguments.backing_file)});
}

}  // namespace blockexport::control
