#include "control/backup/checkpoint.h"

#include <fmt/format.h>

namespace blockexport::control {
namespace {

using block::BitmapName;
using block::DirtyBitmap;
using Kind = CheckpointPlan::Kind;

constexpr const char* kFullBackupHint = "Remove it with block-dirty-bitmap-remove; the backup is a full one then.";

Error may_miss_changes(const block::Node& disk, const DirtyBitmap& bitmap) {
  return Error(fmt::format("Bitmap '{}' of node '{}' is {}, so that changes may be missing in it", bitmap.name(),
                           disk.name(), bitmap.is_inconsistent() ? "inconsistent" : "disabled"));
}

Error is_in_use(const block::Node& disk, const DirtyBitmap& bitmap) {
  return Error(fmt::format("Bitmap '{}' of node '{}' is in use", bitmap.name(), disk.name()))
      .with_hint("An export or another operation reads it. End that first.");
}

// The bitmap of a backup that never ended. `checkpoint` may be null.
Result<> check_leftover(const block::Node& disk, const DirtyBitmap& next, const DirtyBitmap* checkpoint) {
  if (next.is_busy()) return fail(is_in_use(disk, next));
  // Without a checkpoint its contents do not matter. A checkpoint that is enabled has recorded everything itself.
  const bool is_needed = checkpoint != nullptr && !checkpoint->is_enabled();
  if (next.is_inconsistent() || (is_needed && !next.is_enabled())) {
    return fail(may_miss_changes(disk, next)
                    .with_hint(checkpoint == nullptr
                                   ? "Remove it with block-dirty-bitmap-remove."
                                   : "It is left from a backup that never ended. Remove it and the checkpoint with "
                                     "block-dirty-bitmap-remove; the backup is a full one then."));
  }
  return {};
}

}  // namespace

std::string next_bitmap_name(std::string_view checkpoint) {
  return fmt::format("{}{}", checkpoint, kNextSuffix);
}

Result<> check_checkpoint_name(std::string_view checkpoint) {
  if (checkpoint.empty()) return fail("The name of the checkpoint is empty");
  if (checkpoint.size() + kNextSuffix.size() > DirtyBitmap::kNameBytesMax) {
    return fail(fmt::format("The name of the checkpoint has {} bytes; at most {} are possible", checkpoint.size(),
                            DirtyBitmap::kNameBytesMax - kNextSuffix.size()));
  }
  if (checkpoint.ends_with(kNextSuffix)) {
    return fail(Error(fmt::format("'{}' cannot be a checkpoint", checkpoint))
                    .with_hint(fmt::format("Names that end with '{}' are those of bitmaps that record during a backup.",
                                           kNextSuffix)));
  }
  return {};
}

Result<CheckpointPlan> plan_checkpoint(const block::Node& disk, std::string_view checkpoint,
                                       std::optional<bool> persistent) {
  const block::BitmapList& list = disk.bitmaps().list();
  const DirtyBitmap* last = list.find(checkpoint);
  const DirtyBitmap* next = list.find(next_bitmap_name(checkpoint));
  CheckpointPlan plan{.kind = last != nullptr ? Kind::kIncremental : Kind::kFull,
                      .has_leftover = next != nullptr,
                      .persistent = persistent.value_or(disk.bitmaps().store() != nullptr)};
  if (last != nullptr) {
    if (last->is_busy()) return fail(is_in_use(disk, *last));
    if (!last->is_recording() && (last->is_inconsistent() || next == nullptr)) {
      return fail(may_miss_changes(disk, *last).with_hint(kFullBackupHint));
    }
    plan.granularity_bytes = last->bits().granularity_bytes();
    plan.persistent = plan.persistent || last->is_persistent();
  }
  if (next != nullptr) TRY(check_leftover(disk, *next, last));
  return plan;
}

void add_begin_steps(const std::string& disk, const std::string& checkpoint, const CheckpointPlan& plan,
                     std::vector<block::GraphStep>& steps) {
  if (plan.kind == Kind::kNone) return;
  const BitmapName last{disk, checkpoint};
  const BitmapName next{disk, next_bitmap_name(checkpoint)};
  const bool is_incremental = plan.kind == Kind::kIncremental;
  if (plan.has_leftover) {
    if (is_incremental) steps.emplace_back(block::MergeBitmaps{.target = last, .sources = {next}});
    steps.emplace_back(block::ClearBitmap{next});
    steps.emplace_back(block::EnableBitmap{next});
  } else {
    steps.emplace_back(block::AddBitmap{
        .bitmap = next, .granularity_bytes = plan.granularity_bytes, .persistent = plan.persistent, .enabled = true});
  }
  if (is_incremental) steps.emplace_back(block::DisableBitmap{last});
}

void add_end_steps(const block::Node& disk, const std::string& checkpoint, const CheckpointPlan& plan,
                   schema::BackupOutcome outcome, std::vector<block::GraphStep>& steps) {
  if (plan.kind == Kind::kNone) return;
  const BitmapName last{disk.name(), checkpoint};
  const BitmapName next{disk.name(), next_bitmap_name(checkpoint)};
  const DirtyBitmap* now = disk.bitmaps().list().find(last.name);
  const DirtyBitmap* recorded = disk.bitmaps().list().find(next.name);
  if (outcome == schema::BackupOutcome::kSuccess) {
    if (now != nullptr) {
      steps.emplace_back(block::ClearBitmap{last});
    } else {
      std::optional<std::uint32_t> granularity_bytes;
      if (recorded != nullptr) granularity_bytes = recorded->bits().granularity_bytes();
      steps.emplace_back(block::AddBitmap{
          .bitmap = last, .granularity_bytes = granularity_bytes, .persistent = plan.persistent, .enabled = true});
    }
    steps.emplace_back(block::MergeBitmaps{.target = last, .sources = {next}});
    steps.emplace_back(block::EnableBitmap{last});
  } else if (plan.kind == Kind::kIncremental && now != nullptr && !now->is_inconsistent()) {
    if (recorded != nullptr && recorded->is_inconsistent()) {
      // Changes are missing in both: the next backup must be a full one.
      steps.emplace_back(block::RemoveBitmap{last});
    } else {
      steps.emplace_back(block::MergeBitmaps{.target = last, .sources = {next}});
      steps.emplace_back(block::EnableBitmap{last});
    }
  }
  steps.emplace_back(block::RemoveBitmap{next});
}

}  // namespace blockexport::control
