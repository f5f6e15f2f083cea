// Command x-blockdev-change.

#include <fmt/format.h>

#include "control/core/control.h"
#include "schema/block_children_commands.h"

namespace blockexport::control {

aio::Task<Result<>> x_blockdev_change(Control& control, schema::XBlockdevChangeArguments arguments) {
  if (control.graph().find(arguments.parent) == nullptr) {
    co_return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", arguments.parent, arguments.parent));
  }
  if (arguments.child && arguments.node) co_return fail("The parameters child and node are in conflict");
  if (!arguments.child && !arguments.node) co_return fail("Either child or node must be specified");
  std::vector<block::GraphStep> steps;
  if (arguments.node) {
    steps.push_back(block::AddChild{.parent = std::move(arguments.parent), .node = std::move(*arguments.node)});
  } else {
    steps.push_back(block::RemoveChild{.parent = std::move(arguments.parent), .child = std::move(*arguments.child)});
  }
  co_return co_await control.graph().apply(std::move(steps));
}

}  // namespace blockexport::control
