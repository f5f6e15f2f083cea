#include "control/commands/backup_plan.h"

#include <fmt/format.h>

#include <set>
#include <string>

#include "base/identifier.h"
#include "control/core/control.h"

namespace blockexport::control {
namespace {

constexpr const char* kOtherIdHint = "Give the backup another id.";

Result<> check_id(const std::string& id) {
  if (!is_identifier(id)) return fail(Error("Parameter 'id' expects an identifier").with_hint(kIdentifierHint));
  if (id.size() > Backup::kIdBytesMax) {
    return fail(
        fmt::format("The id of a backup has at most {} bytes, and '{}' has {}", Backup::kIdBytesMax, id, id.size()));
  }
  return {};
}

Result<> check_arguments(Control& control, const schema::BackupBeginArguments& arguments) {
  TRY(check_id(arguments.id));
  if (arguments.disks.empty()) return fail("Parameter 'disks' expects at least one disk");
  if (arguments.disks.size() > Backup::kDisksMax) {
    return fail(fmt::format("A backup has at most {} disks", Backup::kDisksMax));
  }
  if (arguments.checkpoint) TRY(check_checkpoint_name(*arguments.checkpoint));
  if (!control.servers().any()) {
    return fail(Error("NBD server not running").with_hint("Start one with nbd-server-start, or with --nbd-server."));
  }
  return {};
}

// The names that each disk of one backup has for itself.
struct Names {
  std::set<std::string> disks;
  std::set<std::string> scratch_nodes;
  std::set<std::string> exports;
};

// A node that receives the old contents of the disk.
Result<> check_scratch(Control& control, const BackupDisk& disk, Names& names) {
  TRY_ASSIGN(block::Node * node, control.graph().lookup(disk.scratch_name));
  if (!names.scratch_nodes.insert(disk.scratch_name).second) {
    return fail(fmt::format("Node '{}' is the scratch space of two disks", disk.scratch_name));
  }
  if (!node->parents().empty()) {
    return fail(Error(fmt::format("Node '{}' cannot be scratch space, because it is in use", disk.scratch_name))
                    .with_hint("Its contents will be overwritten."));
  }
  if (node->read_only()) return fail(fmt::format("Scratch node '{}' is read-only", disk.scratch_name));
  if (node->size_bytes() < disk.size_bytes) {
    return fail(fmt::format("Scratch node '{}' has {} bytes, and disk '{}' has {}", disk.scratch_name,
                            node->size_bytes(), disk.node_name, disk.size_bytes));
  }
  return {};
}

Result<> check_names_are_free(Control& control, const BackupDisk& disk, Names& names) {
  std::vector<std::string> nodes{disk.filter_name, disk.access_name};
  if (disk.makes_scratch) nodes.push_back(disk.scratch_name);
  for (const std::string& name : nodes) {
    if (control.graph().find(name) != nullptr) {
      return fail(
          Error(fmt::format("The backup needs the node name '{}', which is in use", name)).with_hint(kOtherIdHint));
    }
  }
  if (control.exports().find(disk.export_id) != nullptr) {
    return fail(Error(fmt::format("The backup needs the export id '{}', which is in use", disk.export_id))
                    .with_hint(kOtherIdHint));
  }
  if (control.servers().names().contains(disk.export_name) || !names.exports.insert(disk.export_name).second) {
    return fail(Error(fmt::format("NBD server already has export named '{}'", disk.export_name))
                    .with_hint("Give the disk another name with 'export'."));
  }
  return {};
}

Result<BackupDisk> plan_disk(Control& control, const schema::BackupBeginArguments& arguments, std::size_t index,
                             Names& names) {
  const schema::BackupDiskOptions& options = arguments.disks[index];
  TRY_ASSIGN(const block::Node* node, control.graph().lookup(options.node_name));
  if (!names.disks.insert(options.node_name).second) {
    return fail(fmt::format("Node '{}' is named twice", options.node_name));
  }
  const std::string name = fmt::format("{}-{}", arguments.id, index);
  BackupDisk disk{.node_name = options.node_name,
                  .size_bytes = node->size_bytes(),
                  .export_name = options.export_.value_or(fmt::format("{}-{}", arguments.id, options.node_name)),
                  .export_id = name,
                  .filter_name = name + "-filter",
                  .access_name = name + "-access",
                  .scratch_name = options.scratch.value_or(name + "-scratch"),
                  .makes_scratch = !options.scratch.has_value()};
  if (options.scratch) {
    TRY(check_scratch(control, disk, names));
  } else if (!arguments.scratch_directory) {
    return fail(Error(fmt::format("There is no scratch space for disk '{}'", options.node_name))
                    .with_hint("Give 'scratch-directory', or a node as the disk's 'scratch'."));
  }
  return disk;
}

Result<> plan_bitmaps(Control& control, const schema::BackupBeginArguments& arguments, BackupDisk& disk) {
  if (!arguments.checkpoint) return {};
  TRY_ASSIGN(const block::Node* node, control.graph().lookup(disk.node_name));
  TRY_ASSIGN(disk.checkpoint, plan_checkpoint(*node, *arguments.checkpoint, arguments.persistent));
  return {};
}

}  // namespace

Result<std::unique_ptr<Backup>> plan_backup(Control& control, const schema::BackupBeginArguments& arguments) {
  TRY(check_arguments(control, arguments));
  auto backup = std::make_unique<Backup>(Backup{.id = arguments.id, .checkpoint = arguments.checkpoint});
  backup->copy_timeout_seconds = arguments.cbw_timeout.value_or(Backup::kCopyTimeoutSecondsDefault);
  backup->cluster_bytes_min = arguments.min_cluster_size;
  Names names;
  for (std::size_t i = 0; i < arguments.disks.size(); ++i) {
    TRY_ASSIGN(BackupDisk disk, plan_disk(control, arguments, i, names));
    backup->disks.push_back(std::move(disk));
  }
  for (const std::string& scratch : names.scratch_nodes) {
    if (names.disks.contains(scratch)) return fail(fmt::format("Node '{}' is a disk and scratch space", scratch));
  }
  TRY(control.backups().check(*backup));
  for (BackupDisk& disk : backup->disks) {
    TRY(check_names_are_free(control, disk, names));
    TRY(plan_bitmaps(control, arguments, disk));
  }
  return backup;
}

}  // namespace blockexport::control
