// Commands block-export-add, block-export-del and query-block-exports.

#include "control/commands/export.h"

#include <fmt/format.h>

#include <unordered_set>

#include "control/commands/export_types.h"
#include "control/core/control.h"
#include "control/objects/iothread_object.h"
#include "schema/block_export_commands.h"

namespace blockexport::control {
namespace {

// The ids of the iothread objects that the export names, each once. Errors: a list together with fixed-iothread, an
// empty list, or one that names an object twice.
Result<std::vector<std::string>> iothread_ids(const schema::BlockExportOptions& options) {
  if (!options.iothread) return std::vector<std::string>{};
  if (const std::string* single = options.iothread->single()) return std::vector{*single};
  if (options.fixed_iothread.value_or(false)) return fail("Cannot use fixed-iothread for a multi-threaded export");
  const std::vector<std::string>& list = *options.iothread->multi();
  if (list.empty()) return fail("The set of I/O threads must not be empty");
  std::unordered_set<std::string_view> seen;
  for (const std::string& id : list) {
    if (!seen.insert(id).second) return fail(fmt::format("iothread \"{}\" is named twice", id));
  }
  return list;
}

// Takes ownership of `edge` if it succeeds; `arguments` and `edge` outlive the call.
aio::Task<Result<>> add_export(Control& control, const schema::BlockExportOptions& arguments,
                               std::unique_ptr<block::Edge>& edge) {
  CO_TRY_ASSIGN(std::unique_ptr<exports::Export> made, co_await make_export_of_any_type(control, arguments, edge));
  control.exports().add(std::move(made));
  co_return Result<>();
}

}  // namespace

// Checks in the order of qemu-storage-daemon.
Result<> check_export(Control& control, const schema::BlockExportOptions& options) {
  TRY(control.exports().check_id(options.id));
  TRY_ASSIGN(block::Node * node, control.graph().lookup(options.node_name));
  if (node->read_only() && options.writable.value_or(false)) return fail("Cannot export read-only node as writable");
  TRY(find_iothreads(control, options));
  return {};
}

Result<std::vector<aio::DataReactor*>> find_iothreads(Control& control, const schema::BlockExportOptions& options) {
  TRY_ASSIGN(const std::vector<std::string> ids, iothread_ids(options));
  std::vector<aio::DataReactor*> reactors;
  for (const std::string& id : ids) {
    UserObject* object = control.objects().find_for_opening(id);
    if (object == nullptr || object->type_name() != "iothread") {
      return fail(fmt::format("iothread \"{}\" not found", id));
    }
    reactors.push_back(&static_cast<IothreadObject*>(object)->data_reactor());
  }
  return reactors;
}

block::EdgeParent export_parent() {
  return {.name = "root", .description = std::string(block::kUnnamedUser), .tolerates_growth = true};
}

block::Permissions export_permissions(bool writable) {
  block::Permissions permissions{.used = block::Permission::kConsistentRead,
                                 .shared = block::PermissionSet::all() - block::Permission::kResize};
  if (writable) permissions.used = permissions.used | block::Permission::kWrite;
  return permissions;
}

exports::RemoveMode to_remove_mode(std::optional<schema::BlockExportRemoveMode> mode) {
  switch (mode.value_or(schema::BlockExportRemoveMode::kSafe)) {
    case schema::BlockExportRemoveMode::kSafe:
      return exports::RemoveMode::kSafe;
    case schema::BlockExportRemoveMode::kHard:
      return exports::RemoveMode::kHard;
    case schema::BlockExportRemoveMode::kHide:
      return exports::RemoveMode::kHide;
    case schema::BlockExportRemoveMode::kSoft:
      return exports::RemoveMode::kSoft;
  }
  __builtin_unreachable();
}

aio::Task<Result<>> block_export_add(Control& control, schema::BlockExportOptions arguments) {
  CO_TRY(check_export(control, arguments));
  const block::Permissions permissions = export_permissions(arguments.writable.value_or(false));
  CO_TRY_ASSIGN(auto edge, co_await control.graph().attach(arguments.node_name, export_parent(), permissions));
  // Checks again, because nodes and exports may have changed during the wait for the graph; the edge keeps its node.
  Result<> added = check_export(control, arguments);
  if (added) added = co_await add_export(control, arguments, edge);
  // An edge that the export did not take is released.
  if (!added) {
    co_await control.graph().detach(std::move(edge));
  } else {
    control.use_iothreads(arguments.id, *iothread_ids(arguments));
    control.log().trace().note(TraceEvent::kBlockExportAdded, {arguments.id, " node ", arguments.node_name});
  }
  co_return added;
}

aio::Task<Result<>> block_export_del(Control& control, schema::BlockExportDelArguments arguments) {
  co_return co_await control.exports().remove(arguments.id, to_remove_mode(arguments.mode));
}

aio::Task<Result<std::vector<schema::BlockExportInfo>>> query_block_exports(Control& control) {
  std::vector<schema::BlockExportInfo> listed;
  for (exports::Export* one : control.exports().list()) {
    listed.push_back({.id = one->id(),
                      .type = type_of(*one),
                      .node_name = one->node_name(),
                      .shutting_down = one->shutting_down(),
                      .iothreads = control.iothreads_of(one->id())});
  }
  co_return listed;
}

}  // namespace blockexport::control
