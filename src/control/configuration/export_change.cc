#include "control/configuration/export_change.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/sync/with_deadline.h"
#include "base/printable.h"
#include "configuration/node_options.h"
#include "control/commands/export.h"
#include "control/core/control.h"

namespace blockexport::control {
namespace {

using configuration::NodeEffect;
using schema::ConfigurationAction;

std::vector<block::BitmapReference> references(const std::vector<schema::BlockDirtyBitmapOrStr>& bitmaps) {
  std::vector<block::BitmapReference> list;
  for (const schema::BlockDirtyBitmapOrStr& bitmap : bitmaps) {
    if (bitmap.local() != nullptr) {
      list.push_back({.node = std::nullopt, .name = *bitmap.local()});
    } else {
      list.push_back({.node = bitmap.external()->node, .name = bitmap.external()->name});
    }
  }
  return list;
}

std::vector<std::string> iothreads_of(const schema::BlockExportOptions& options) {
  if (!options.iothread) return {};
  if (const std::string* single = options.iothread->single()) return {*single};
  return *options.iothread->multi();
}

}  // namespace

void ExportChange::add(const configuration::Difference& difference, const schema::ExportConfiguration* before,
                       const schema::ExportConfiguration* after) {
  if (difference.action == ConfigurationAction::kChange) changed_.push_back(*after);
  const std::optional<schema::BlockdevOptions> old_node =
      before != nullptr ? configuration::own_node_of(*before) : std::nullopt;
  const std::optional<schema::BlockdevOptions> new_node =
      after != nullptr ? configuration::own_node_of(*after) : std::nullopt;
  if (difference.node == NodeEffect::kReopen) reopened_nodes_.push_back(*new_node);
  const bool is_gone = old_node && difference.node != NodeEffect::kKeep && difference.node != NodeEffect::kReopen;
  if (is_gone) retired_nodes_.push_back(*old_node->node_name);
  if (difference.action == ConfigurationAction::kChange) return;
  if (before != nullptr) {
    const bool is_replaced = after != nullptr;
    removed_.emplace(before->id,
                     Removed{.mode = is_replaced ? exports::RemoveMode::kHard : to_remove_mode(before->on_remove),
                             .is_replaced = is_replaced});
  }
  if (after == nullptr) return;
  added_.push_back({.options = configuration::export_options_of(*after), .servers = after->servers});
  if (difference.node == NodeEffect::kReplace) added_.back().own_node = new_node;
}

Result<> ExportChange::check_clients() const {
  for (const auto& [id, removed] : removed_) {
    const exports::Export* found = control_.exports().find(id);
    if (found == nullptr || found->shutting_down() || found->client_count() == 0) continue;
    if (removed.is_replaced && !is_disruptive_) {
      return fail(Error(fmt::format("Export '{}' would be replaced, and has {} clients", id, found->client_count()))
                      .with_hint("A disruptive reload disconnects them."));
    }
    if (!removed.is_replaced && removed.mode == exports::RemoveMode::kSafe) {
      return fail(Error(fmt::format("Export '{}' would be removed, and has {} clients", id, found->client_count()))
                      .with_hint("Its option on-remove says how clients are treated; its value is 'safe'."));
    }
  }
  return {};
}

Result<> ExportChange::check() const {
  return check_clients();
}

Result<nbd::NbdExportOptions> ExportChange::nbd_options(const Added& added) const {
  const schema::BlockExportOptions& options = added.options;
  TRY_ASSIGN(std::vector<aio::DataReactor*> reactors, find_iothreads(control_, options));
  const auto& nbd = options.as<schema::BlockExportType::kNbd>();
  return nbd::NbdExportOptions{.common = {.id = options.id,
                                          .writable = options.writable.value_or(false),
                                          .writethrough = options.writethrough.value_or(false),
                                          .reactors = std::move(reactors)},
                               .name = nbd.name.value_or(options.id),
                               .description = nbd.description,
                               .allocation_depth = nbd.allocation_depth.value_or(false),
                               .bitmap_count = nbd.bitmaps ? nbd.bitmaps->size() : 0,
                               .servers = added.servers,
                               .tls_authz = nbd.tls_authz};
}

Result<block::GraphStep> ExportChange::attaching_step(Added& one) const {
  TRY_ASSIGN(one.made, nbd_options(one));
  const block::Permissions permissions = export_permissions(one.made.common.writable);
  if (one.own_node) {
    return block::AttachReference{schema::BlockdevRef{*one.own_node}, export_parent(), permissions, &one.edge};
  }
  return block::AttachEdge{one.options.node_name, export_parent(), permissions, &one.edge};
}

std::optional<block::GraphStep> ExportChange::holding_step(Added& one) {
  const auto& bitmaps = one.options.as<schema::BlockExportType::kNbd>().bitmaps;
  if (!bitmaps || bitmaps->empty()) return std::nullopt;
  return block::HoldBitmaps{.top = one.options.node_name,
                            .is_read_only = !one.made.common.writable,
                            .bitmaps = references(*bitmaps),
                            .held = &one.bitmaps};
}

std::set<std::string> ExportChange::names_that_leave() const {
  std::set<std::string> names;
  for (const auto& [id, removed] : removed_) {
    exports::Export* found = control_.exports().find(id);
    if (found != nullptr && found->type() == "nbd" && !found->shutting_down()) {
      names.insert(static_cast<nbd::NbdExport*>(found)->info().name);
    }
  }
  return names;
}

Result<> ExportChange::decide() const {
  TRY(check_clients());
  const std::set<std::string> leaving = names_that_leave();
  for (const Added& one : added_) {
    const exports::Export* found = control_.exports().find(one.options.id);
    if (found != nullptr && !found->shutting_down() && !removed_.contains(one.options.id)) {
      return fail(fmt::format("Block export id '{}' is already in use", one.options.id));
    }
    const std::string& name = one.made.name;
    if (control_.servers().names().contains(name) && !leaving.contains(name)) {
      return fail(fmt::format("NBD server already has export named '{}'", printable(name)));
    }
    const block::Node* node = control_.graph().find(one.options.node_name);
    if (node == nullptr) return fail(fmt::format("Cannot find node-name='{}'", one.options.node_name));
    if (node->read_only() && one.made.common.writable) return fail("Cannot export read-only node as writable");
  }
  return {};
}

void ExportChange::publish(Added& added) {
  // One of this ID that was removed before, and still has clients, keeps them.
  if (exports::Export* leaving = control_.exports().find(added.options.id)) {
    control_.exports().retire(*leaving, exports::RemoveMode::kHide);
  }
  if (added.own_node) control_.graph().set_origin(added.edge->node(), Origin::kFile);
  auto made = std::make_unique<nbd::NbdExport>(control_.servers().names(), added.made, std::move(added.edge),
                                               std::move(added.bitmaps));
  made->origin = Origin::kFile;
  control_.exports().add(std::move(made));
  control_.use_iothreads(added.options.id, iothreads_of(added.options));
}

void ExportChange::commit() {
  for (const auto& [id, removed] : removed_) {
    exports::Export* found = control_.exports().find(id);
    if (found == nullptr) continue;
    const bool ends = found->client_count() == 0 || removed.mode == exports::RemoveMode::kHard;
    if (ends) ending_.push_back(found->number());
    control_.exports().retire(*found, removed.mode);
  }
  for (const schema::ExportConfiguration& one : changed_) {
    exports::Export* found = control_.exports().find(one.id);
    if (found == nullptr || found->type() != "nbd") continue;
    static_cast<nbd::NbdExport*>(found)->change(one.description, one.tls_authz, one.servers);
  }
  for (Added& one : added_) publish(one);
}

aio::Task<void> ExportChange::wait_for_end() {
  const std::uint64_t deadline_ns = aio::deadline_after(control_.reactor(), exports::kHardRemovalWaitNs);
  for (std::uint64_t number : ending_) {
    aio::Task<void> waiting = control_.exports().wait_until_ended(number);
    (void)co_await aio::with_deadline("export removal", deadline_ns, std::move(waiting));
  }
}

bool ExportChange::is_leaving(const block::Edge& edge) const {
  return std::ranges::any_of(control_.exports().list(), [&](exports::Export* one) {
    return one->uses(edge) && (one->shutting_down() || removed_.contains(one->id()));
  });
}

}  // namespace blockexport::control
