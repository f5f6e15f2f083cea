// transaction: each action is a step of one change of the graph.

#include <fmt/format.h>

#include "control/commands/dirty_bitmap.h"
#include "control/commands/snapshot.h"
#include "control/core/control.h"
#include "schema/transaction_commands.h"

namespace blockexport::control {
namespace {

using schema::TransactionActionKind;

block::GraphStep step_of(schema::TransactionAction action, Snapshots& snapshots) {
  switch (action.type()) {
    case TransactionActionKind::kAbort:
      break;
    case TransactionActionKind::kBlockDirtyBitmapAdd:
      return add_step(std::move(action.as<TransactionActionKind::kBlockDirtyBitmapAdd>().data));
    case TransactionActionKind::kBlockDirtyBitmapRemove:
      return block::RemoveBitmap{
          bitmap_name(std::move(action.as<TransactionActionKind::kBlockDirtyBitmapRemove>().data))};
    case TransactionActionKind::kBlockDirtyBitmapClear:
      return block::ClearBitmap{
          bitmap_name(std::move(action.as<TransactionActionKind::kBlockDirtyBitmapClear>().data))};
    case TransactionActionKind::kBlockDirtyBitmapEnable:
      return block::EnableBitmap{
          bitmap_name(std::move(action.as<TransactionActionKind::kBlockDirtyBitmapEnable>().data))};
    case TransactionActionKind::kBlockDirtyBitmapDisable:
      return block::DisableBitmap{
          bitmap_name(std::move(action.as<TransactionActionKind::kBlockDirtyBitmapDisable>().data))};
    case TransactionActionKind::kBlockDirtyBitmapMerge:
      return merge_step(std::move(action.as<TransactionActionKind::kBlockDirtyBitmapMerge>().data));
    case TransactionActionKind::kBlockdevSnapshot:
      return snapshots.take(std::move(action.as<TransactionActionKind::kBlockdevSnapshot>().data));
    case TransactionActionKind::kBlockdevSnapshotInternalSync:
      return internal_step(std::move(action.as<TransactionActionKind::kBlockdevSnapshotInternalSync>().data));
    case TransactionActionKind::kBlockdevSnapshotSync:
      return snapshots.take(std::move(action.as<TransactionActionKind::kBlockdevSnapshotSync>().data));
  }
  return block::FailChange{"Transaction aborted using Abort action"};
}

// No action begins a job, and only jobs can be grouped.
Result<> check_completion_mode(const schema::TransactionArguments& arguments) {
  if (!arguments.properties || arguments.actions.empty()) return {};
  if (arguments.properties->completion_mode != schema::ActionCompletionMode::kGrouped) return {};
  return fail(fmt::format("Action '{}' does not support transaction property completion-mode = grouped",
                          schema::name_of(arguments.actions.front().type())));
}

}  // namespace

aio::Task<Result<>> transaction(Control& control, schema::TransactionArguments arguments) {
  CO_TRY(check_completion_mode(arguments));
  Snapshots snapshots(control);
  std::vector<block::GraphStep> steps;
  for (schema::TransactionAction& action : arguments.actions) steps.push_back(step_of(std::move(action), snapshots));
  CO_TRY(co_await control.graph().apply(std::move(steps)));
  co_await snapshots.settle();
  co_return Result<>();
}

}  // namespace blockexport::control
