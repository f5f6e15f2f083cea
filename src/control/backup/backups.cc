#include "control/backup/backups.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <iterator>
#include <ranges>

#include "control/backup/backup_steps.h"

namespace blockexport::control {
namespace {

using Kind = CheckpointPlan::Kind;

// The reason why two backups cannot run at the same time; empty if they can.
std::string conflict(const Backup& running, const Backup& added) {
  if (running.id == added.id) return fmt::format("Backup '{}' exists already", added.id);
  for (const BackupDisk& disk : added.disks) {
    for (const BackupDisk& other : running.disks) {
      if (disk.scratch_name == other.scratch_name) {
        return fmt::format("Node '{}' is the scratch space of backup '{}'", disk.scratch_name, running.id);
      }
      if (disk.node_name == other.scratch_name || disk.scratch_name == other.node_name) {
        return fmt::format("Node '{}' cannot be a disk of one backup and the scratch space of another",
                           other.scratch_name == disk.node_name ? disk.node_name : disk.scratch_name);
      }
      if (added.checkpoint && added.checkpoint == running.checkpoint && disk.node_name == other.node_name) {
        return fmt::format("Checkpoint '{}' of node '{}' is used by backup '{}'", *added.checkpoint, disk.node_name,
                           running.id);
      }
    }
  }
  return {};
}

}  // namespace

Backups::~Backups() {
  assert(backups_.empty());
}

Result<> Backups::check(const Backup& backup) const {
  if (backups_.size() >= kBackupsMax) return fail(fmt::format("At most {} backups can run at a time", kBackupsMax));
  for (const auto& running : backups_) {
    if (std::string text = conflict(*running, backup); !text.empty()) {
      return fail(Error(std::move(text)).with_hint("query-backups lists the running backups; backup-end ends one."));
    }
  }
  return {};
}

void Backups::add(std::unique_ptr<Backup> backup) {
  backups_.push_back(std::move(backup));
}

Backup* Backups::find(std::string_view id) const {
  auto found = std::ranges::find(backups_, id, [](const auto& one) -> std::string_view { return one->id; });
  return found != backups_.end() ? found->get() : nullptr;
}

void Backups::forget(std::string_view id) {
  std::erase_if(backups_, [id](const auto& one) { return one->id == id; });
}

aio::Task<Result<>> Backups::begin(std::string id) {
  Backup& backup = *find(id);
  CO_TRY(co_await graph_.apply(begin_steps(backup)));
  backup.point_wall_us = reactor_.clock().wall_us();
  report_leftovers(backup);
  co_return Result<>();
}

void Backups::report_leftovers(const Backup& backup) const {
  for (const BackupDisk& disk : backup.disks) {
    if (!disk.checkpoint.has_leftover) continue;
    const std::string next = next_bitmap_name(*backup.checkpoint);
    const bool was_merged = disk.checkpoint.kind == Kind::kIncremental;
    log_.warning(fmt::format("node '{}' has the bitmap '{}' of a backup that never ended; {}", disk.node_name, next,
                             was_merged ? fmt::format("backup '{}' includes its changes", backup.id)
                                        : fmt::format("backup '{}' is a full one", backup.id)));
  }
}

bool Backups::has_export(const BackupDisk& disk) const {
  const exports::Export* found = exports_.find(disk.export_id);
  return found != nullptr && found->node_name() == disk.access_name;
}

aio::Task<Result<>> Backups::end(std::string id, schema::BackupOutcome outcome) {
  CO_TRY(co_await remove_exports(id));
  Result<> changed = co_await change(id, outcome);
  if (!changed) co_return fail(std::move(changed).error().with_prefix(fmt::format("Cannot end backup '{}': ", id)));
  forget(id);
  co_return Result<>();
}

aio::Task<Result<>> Backups::remove_exports(std::string id) {
  const Backup& backup = *find(id);
  for (const BackupDisk& disk : backup.disks) {
    if (!has_export(disk)) continue;
    // An error means that it is being removed in this mode already.
    (void)co_await exports_.remove(disk.export_id, exports::RemoveMode::kHard);
    if (has_export(disk)) {
      co_return fail(Error(fmt::format("Cannot end backup '{}': export '{}' waits for storage", id, disk.export_id))
                         .with_hint("Its clients were disconnected. Repeat the command when the storage answers."));
    }
  }
  co_return Result<>();
}

aio::Task<Result<>> Backups::change(std::string id, schema::BackupOutcome outcome) {
  Backup& backup = *find(id);
  std::vector<std::unique_ptr<block::Edge>> edges(backup.disks.size());
  std::vector<block::GraphStep> steps;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    BackupDisk& disk = backup.disks[i];
    if (disk.recording.empty()) continue;
    edges[i] = disk.recording.front().end();
    disk.recording.clear();
    steps.emplace_back(block::DetachEdge{&edges[i]});
  }
  std::ranges::move(end_steps(graph_, backup, outcome), std::back_inserter(steps));
  Result<> changed = co_await graph_.apply(std::move(steps));
  if (changed) co_return changed;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    if (edges[i] == nullptr) continue;
    // The edge has kept the node, but a command may have removed the bitmap, or begun to use it.
    block::DirtyBitmap* bitmap = edges[i]->node().bitmaps().list().find(next_bitmap_name(*backup.checkpoint));
    if (bitmap != nullptr && !bitmap->is_busy()) {
      backup.disks[i].recording.emplace_back(std::move(edges[i]), *bitmap);
    } else {
      co_await graph_.detach(std::move(edges[i]));
    }
  }
  co_return changed;
}

// Gives back what a backup holds of the graph, so that the graph can be closed.
aio::Task<void> Backups::release(std::string id) {
  Backup& backup = *find(id);
  for (BackupDisk& disk : backup.disks) {
    co_await graph_.release(std::move(disk.recording));
    if (disk.access_edge != nullptr) co_await graph_.detach(std::move(disk.access_edge));
  }
}

aio::Task<void> Backups::abort_all() {
  auto turn = co_await changes_.lock();
  // The commands that make the others were cancelled, and forget them.
  for (const std::string& id : running_ids()) {
    Result<> ended = co_await end(id, schema::BackupOutcome::kAbort);
    if (ended) {
      log_.warning(fmt::format("backup '{}' was aborted, because the daemon ends", id));
    } else {
      log_.error(ended.error().message());
      co_await release(id);
      forget(id);
    }
  }
}

std::vector<std::string> Backups::running_ids() const {
  std::vector<std::string> ids;
  for (const auto& backup : backups_ | std::views::reverse) {
    if (backup->is_running) ids.push_back(backup->id);
  }
  return ids;
}

}  // namespace blockexport::control
