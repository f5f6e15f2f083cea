#include "control/configuration/reload.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/sync/shielded.h"
#include "block/edge.h"
#include "block/node.h"
#include "configuration/node_options.h"
#include "control/core/control.h"
#include "control/core/denial_note.h"
#include "json/value.h"
#include "schema/char_commands.h"
#include "schema/codec.h"
#include "schema/qom_commands.h"

namespace blockexport::control {
namespace {

using configuration::NodeEffect;
using configuration::Section;
using schema::ConfigurationAction;

template <class T>
const T* find_by(const std::vector<T>& list, const std::string& id, auto member) {
  const auto found = std::ranges::find_if(list, [&](const T& one) { return one.*member == id; });
  return found != list.end() ? &*found : nullptr;
}

// The arguments of chardev-add, which have the older form of addresses.
Result<schema::ChardevAddArguments> chardev_arguments(const schema::ChardevConfiguration& one) {
  json::Value encoded = schema::encode(one);
  json::Object options = *encoded.as_object();
  const json::Value backend = *options.find("backend");
  options.erase("backend");
  options.erase("id");
  if (const json::Value* address = options.find("addr")) {
    json::Object data = *address->as_object();
    const json::Value type = *data.find("type");
    data.erase("type");
    options.set("addr", json::Object{{"type", type}, {"data", std::move(data)}});
  }
  const json::Value arguments(
      json::Object{{"id", one.id}, {"backend", json::Object{{"type", backend}, {"data", std::move(options)}}}});
  return schema::decode<schema::ChardevAddArguments>(arguments);
}

}  // namespace

schema::NbdServerConfiguration plain_server(const schema::ServerConfiguration& one) {
  return {.listen = one.listen,
          .tls = one.tls,
          .exports = one.exports,
          .access = one.access,
          .max_connections = one.max_connections,
          .handshake_max_seconds = one.handshake_max_seconds};
}

Reload::Reload(Control& control, const ProcessOptions& process, const schema::Configuration& before,
               const configuration::ReadConfiguration& after, const configuration::Differences& differences,
               bool is_disruptive)
    : control_(control),
      before_(before),
      after_(after),
      differences_(differences),
      objects_(control),
      exports_(control, is_disruptive),
      process_(process, after, differences) {
  plan_nodes();
  plan_exports();
}

void Reload::plan_nodes() {
  for (const Difference& one : differences_.list) {
    if (one.section != Section::kNodes) continue;
    const bool leaves = one.action == ConfigurationAction::kRemove || one.action == ConfigurationAction::kReplace;
    if (leaves) nodes_retired_.push_back(one.id);
  }
  const auto ordered = configuration::in_opening_order(after_.content.nodes);
  if (!ordered) return;  // check() has found the circle
  for (const schema::BlockdevOptions& node : *ordered) {
    const Difference* one = differences_.find(Section::kNodes, *node.node_name);
    if (one == nullptr) continue;
    if (one->action == ConfigurationAction::kChange) {
      nodes_reopened_.push_back(node);
    } else {
      nodes_opened_.push_back(node);
    }
  }
}

void Reload::plan_exports() {
  for (const Difference& one : differences_.list) {
    if (one.section != Section::kExports) continue;
    exports_.add(one, find_by(before_.exports, one.id, &schema::ExportConfiguration::id),
                 find_by(after_.content.exports, one.id, &schema::ExportConfiguration::id));
  }
  const std::vector<std::string>& retired = exports_.retired_nodes();
  nodes_retired_.insert(nodes_retired_.end(), retired.begin(), retired.end());
  // An export that a command has removed may have clients, which keep its node.
  for (const ExportChange::Added& one : exports_.added()) {
    const block::Node* left = one.own_node ? control_.graph().find(*one.own_node->node_name) : nullptr;
    const bool is_ours = left != nullptr && control_.graph().about(*left).origin == Origin::kFile;
    if (is_ours && !is_retired(left->name())) nodes_retired_.push_back(left->name());
  }
  const std::vector<schema::BlockdevOptions>& reopened = exports_.reopened_nodes();
  nodes_reopened_.insert(nodes_reopened_.end(), reopened.begin(), reopened.end());
}

Error Reload::at(Section section, const std::string& id, Error error) const {
  const configuration::Place place = after_.places.of(section, id);
  return with_denial_note(std::move(error), control_.denial_note())
      .with_prefix(fmt::format("{}: {}.{}: ", configuration::text_of(place), configuration::name_of(section), id));
}

aio::Task<Result<>> Reload::run() {
  Result<> done = co_await prepare();
  if (done) done = co_await change_graph();
  if (done) {
    co_await aio::shielded("reload", retire());
  } else {
    co_await aio::shielded("reload", abort());
  }
  co_return done;
}

aio::Task<Result<>> Reload::prepare() {
  CO_TRY(exports_.check());
  CO_TRY(check_retired_nodes(/*are_retired=*/false));
  CO_TRY(co_await prepare_objects());
  CO_TRY(co_await prepare_chardevs());
  CO_TRY(co_await prepare_monitors());
  CO_TRY(co_await prepare_servers());
  co_return co_await process_.prepare();
}

aio::Task<Result<>> Reload::prepare_objects() {
  for (const schema::ObjectOptions* options : in_making_order(after_.content.objects)) {
    const Difference* one = differences_.find(Section::kObjects, options->id);
    if (one == nullptr) continue;
    Result<> prepared = co_await objects_.prepare(*one, *options);
    if (!prepared) co_return fail(at(Section::kObjects, options->id, std::move(prepared).error()));
  }
  for (const Difference& one : differences_.list) {
    if (one.section != Section::kObjects || one.action != ConfigurationAction::kRemove) continue;
    const UserObject* object = control_.objects().find(one.id);
    // The users of an iothread are exports, which may leave at the same time.
    if (object == nullptr || object->users > 0) continue;
    Result<> removable = object->check_removable();
    if (!removable) co_return fail(at(Section::kObjects, one.id, std::move(removable).error()));
  }
  co_return Result<>();
}

aio::Task<Result<>> Reload::prepare_chardevs() {
  for (const schema::ChardevConfiguration& options : after_.content.chardevs) {
    const Difference* one = differences_.find(Section::kChardevs, options.id);
    if (one == nullptr || one->action != ConfigurationAction::kAdd) continue;
    Result<> added;
    if (auto arguments = chardev_arguments(options)) {
      added = co_await chardev_add(control_, std::move(*arguments));
    } else {
      added = fail(std::move(arguments).error());
    }
    if (!added) co_return fail(at(Section::kChardevs, options.id, std::move(added).error()));
    chardevs_made_.push_back(options.id);
  }
  co_return Result<>();
}

aio::Task<Result<>> Reload::prepare_monitors() {
  for (const schema::MonitorOptions& options : after_.content.monitors) {
    const Difference* one = differences_.find(Section::kMonitors, *options.id);
    if (one == nullptr || one->action != ConfigurationAction::kAdd) continue;
    schema::ObjectOptions object{.id = *options.id};
    object.branch = schema::MonitorQMPProperties{.chardev = options.chardev, .pretty = options.pretty};
    Result<> added = co_await object_add(control_, std::move(object));
    if (!added) co_return fail(at(Section::kMonitors, *options.id, std::move(added).error()));
    control_.objects().find(*options.id)->origin = Origin::kFile;
    monitors_made_.push_back(*options.id);
  }
  co_return Result<>();
}

aio::Task<Result<>> Reload::prepare_servers() {
  for (const schema::ServerConfiguration& options : after_.content.servers) {
    const Difference* one = differences_.find(Section::kServers, options.id);
    if (one == nullptr) continue;
    const bool is_new = one->action == ConfigurationAction::kAdd;
    Result<PreparedServer> prepared =
        is_new ? co_await PreparedServer::add(control_, options.id, plain_server(options), &objects_)
               : co_await PreparedServer::change(control_, options.id, plain_server(options), &objects_);
    if (!prepared) co_return fail(at(Section::kServers, options.id, std::move(prepared).error()));
    servers_.push_back(std::move(*prepared));
  }
  co_return Result<>();
}

bool Reload::is_retired(const std::string& name) const {
  return std::ranges::find(nodes_retired_, name) != nodes_retired_.end();
}

bool Reload::waits_for_retirement(const schema::BlockdevOptions& options) const {
  const std::set<std::string> references = configuration::references_of(options);
  const std::vector<std::string> names = configuration::names_in(options);
  auto is_waited_for = [this](const std::string& name) { return names_waited_for_.contains(name); };
  return std::ranges::any_of(references, is_waited_for) || std::ranges::any_of(names, is_waited_for);
}

void Reload::add_step(Section section, const std::string& id, block::GraphStep step) {
  owners_of_steps_.emplace_back(section, id);
  steps_.push_back(std::move(step));
}

// The steps that open nodes and attach exports: those that need a name which a node has to give away, or the others.
Result<> Reload::add_opening_steps(bool after_retirement) {
  for (const schema::BlockdevOptions& options : nodes_opened_) {
    const bool waits = waits_for_retirement(options);
    if (waits) names_waited_for_.insert(*options.node_name);
    if (waits == after_retirement) add_step(Section::kNodes, *options.node_name, block::AddNode{options});
  }
  for (ExportChange::Added& one : exports_.added()) {
    const bool waits =
        one.own_node ? waits_for_retirement(*one.own_node) : names_waited_for_.contains(one.options.node_name);
    if (waits != after_retirement) continue;
    auto step = exports_.attaching_step(one);
    if (!step) return fail(at(Section::kExports, one.options.id, std::move(step).error()));
    add_step(Section::kExports, one.options.id, std::move(*step));
  }
  return {};
}

aio::Task<Result<>> Reload::change_graph() {
  names_waited_for_.insert(nodes_retired_.begin(), nodes_retired_.end());
  // The nodes of the first steps are opened before the graph is locked.
  CO_TRY(add_opening_steps(/*after_retirement=*/false));
  for (const std::string& name : nodes_retired_) {
    if (control_.graph().find(name) != nullptr) add_step(Section::kNodes, name, block::RetireNode{name});
  }
  CO_TRY(add_opening_steps(/*after_retirement=*/true));
  if (!nodes_reopened_.empty()) {
    add_step(Section::kNodes, *nodes_reopened_.front().node_name, block::ReopenNodes{nodes_reopened_});
  }
  for (ExportChange::Added& one : exports_.added()) {
    auto step = ExportChange::holding_step(one);
    if (step) add_step(Section::kExports, one.options.id, std::move(*step));
  }
  steps_.push_back(block::CallPartner{this});
  std::optional<std::size_t> failed;
  Result<> applied = co_await control_.graph().apply(std::move(steps_), &failed);
  if (applied || !failed || *failed >= owners_of_steps_.size()) co_return applied;
  const auto& [section, id] = owners_of_steps_[*failed];
  co_return fail(at(section, id, std::move(applied).error()));
}

// Users of a node that leaves must leave too.
Result<> Reload::check_user(const block::Node& node, const block::Edge& user) const {
  const block::Node* parent = user.parent().node;
  const bool leaves_too =
      parent != nullptr && (is_retired(parent->name()) || !control_.graph().about(*parent).retired_name.empty());
  if (leaves_too) return {};
  if (parent == nullptr && (user.parent().keeps_bitmap || exports_.is_leaving(user))) return {};
  return fail(fmt::format("Node '{}' would be removed or replaced, and is used by {}, which stays", node.name(),
                          user.parent().description));
}

Result<> Reload::check_retired_nodes(bool are_retired) const {
  for (const block::GraphNode& one : control_.graph().nodes()) {
    // A new node may have the name of a retired one.
    if (!is_retired(one.node->name()) || one.retired_name.empty() == are_retired) continue;
    for (const block::Edge& user : one.node->parents()) TRY(check_user(*one.node, user));
  }
  return {};
}

Result<> Reload::decide() {
  if (control_.is_shutting_down()) return fail("The daemon is shutting down");
  TRY(check_retired_nodes(/*are_retired=*/true));
  return exports_.decide();
}

void Reload::commit() {
  objects_replaced_ = objects_.commit();
  for (PreparedServer& one : servers_) std::move(one).commit(control_);
  exports_.commit();
  process_.commit();
  for (const schema::BlockdevOptions& options : nodes_opened_) {
    if (const block::Node* node = control_.graph().find(*options.node_name)) {
      control_.graph().set_origin(*node, Origin::kFile);
    }
  }
}

aio::Task<void> Reload::abort() {
  servers_.clear();
  for (const std::string& id : monitors_made_) {
    Result<std::unique_ptr<UserObject>> removed = control_.objects().remove(id);
    if (removed) co_await (*removed)->close();
  }
  for (const std::string& id : chardevs_made_) (void)control_.chardevs().remove(id);
  co_await objects_.abort();
}

aio::Task<void> Reload::retire() {
  co_await exports_.wait_for_end();
  for (const Difference& one : differences_.list) {
    if (one.section != Section::kServers || one.action != ConfigurationAction::kRemove) continue;
    co_await control_.servers().stop(one.id, Servers::ExportsAtStop::kKept);
  }
  for (const std::unique_ptr<UserObject>& object : objects_replaced_) co_await object->close();
  objects_replaced_.clear();
  co_await process_.retire();
  co_await retire_objects();
}

aio::Task<void> Reload::retire_objects() {
  for (const Difference& one : differences_.list) {
    if (one.action != ConfigurationAction::kRemove) continue;
    if (one.section == Section::kMonitors) {
      const auto* monitor = find_by(before_.monitors, one.id, &schema::MonitorOptions::id);
      // The command that reloads may have come through it.
      if (monitor != nullptr) control_.remove_monitor_later(one.id, monitor->chardev);
    }
    if (one.section == Section::kChardevs) (void)control_.chardevs().remove(one.id);
    if (one.section != Section::kObjects) continue;
    auto visits = co_await aio::shielded("iothread visits", control_.iothread_visits().lock());
    Result<std::unique_ptr<UserObject>> removed = control_.objects().remove(one.id);
    if (removed) {
      co_await (*removed)->close();
    } else if (UserObject* left = control_.objects().find(one.id)) {
      control_.log().warning(fmt::format("the configuration has no object '{}' any more, which stays: {}", one.id,
                                         removed.error().message()));
      left->origin = Origin::kCommand;
    }
  }
}

}  // namespace blockexport::control
