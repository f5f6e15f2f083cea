// Checkpoint of a backup: the dirty bitmap that has the changes since the last successful backup, and the bitmap that
// records the changes since the point in time of a running one; the steps that exchange them.
//
// These functions look at a disk and list steps of a change of the graph; they change nothing. Thread: the control
// reactor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "block/graph_step.h"
#include "block/node.h"
#include "schema/backup.h"

namespace blockexport::control {

// Behind the name of the checkpoint: the name of the bitmap that records during a backup.
inline constexpr std::string_view kNextSuffix = ".next";

// The effect of a backup of one disk on the checkpoint.
struct CheckpointPlan {
  enum class Kind : std::uint8_t {
    kNone,         // a full backup that leaves no bitmap
    kFull,         // a full backup, which adds the checkpoint
    kIncremental,  // the changes of the checkpoint
  };

  Kind kind = Kind::kNone;
  // The bitmap that records exists: an earlier backup never ended.
  bool has_leftover = false;
  bool persistent = false;  // of bitmaps that the backup adds
  std::optional<std::uint32_t> granularity_bytes = {};
};

// The name of the bitmap that records during a backup with this checkpoint.
std::string next_bitmap_name(std::string_view checkpoint);

// Errors: an empty name, one that is too long, or one that is the name of a bitmap that records for another checkpoint.
Result<> check_checkpoint_name(std::string_view checkpoint);

// Errors: the checkpoint may have missed changes, or another operation uses it.
// `persistent`: of bitmaps that the backup adds. Nullopt: if the disk has a bitmap store. A bitmap that records for a
// persistent checkpoint is persistent in any case, since that would miss changes after a crash.
Result<CheckpointPlan> plan_checkpoint(const block::Node& disk, std::string_view checkpoint,
                                       std::optional<bool> persistent);

// The steps that begin a backup, at its point in time: afterwards the checkpoint is disabled, and the next bitmap
// records.
void add_begin_steps(const std::string& disk, const std::string& checkpoint, const CheckpointPlan& plan,
                     std::vector<block::GraphStep>& steps);

// The steps that end a backup: afterwards the checkpoint records, and the next bitmap is gone. `disk` is as it is now:
// the user may have removed the checkpoint meanwhile.
void add_end_steps(const block::Node& disk, const std::string& checkpoint, const CheckpointPlan& plan,
                   schema::BackupOutcome outcome, std::vector<block::GraphStep>& steps);

}  // namespace blockexport::control
