#include "control/configuration/configurator.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "aio/sync/with_deadline.h"
#include "configuration/node_options.h"
#include "control/configuration/reload.h"
#include "control/configuration/runtime_keeper.h"
#include "schema/codec.h"
#include "schema/config_commands.h"

namespace blockexport::control {
namespace {

using configuration::Differences;
using configuration::ReadConfiguration;
using schema::ConfigurationAction;

// The files may be on a file system that does not answer, so a worker reads them; it shares this struct.
struct FileReading {
  std::string path;
  std::optional<ReadConfiguration> read = {};

  static std::int64_t run(void* reading) {
    auto& self = *static_cast<FileReading*>(reading);
    self.read.emplace(configuration::read_configuration(self.path));
    return 0;
  }
};

// The values of the properties of an object that are not secret.
json::Value properties_of(const UserObject& object) {
  json::Object values;
  for (const schema::Property& property : object.properties()) {
    if (!property.is_secret) values.set(std::string(property.name), object.get(property.name));
  }
  return values;
}

schema::ObjectOrigin to_schema(Origin origin) {
  switch (origin) {
    case Origin::kCommand:
      return schema::ObjectOrigin::kQmp;
    case Origin::kCommandLine:
      return schema::ObjectOrigin::kCommandLine;
    case Origin::kFile:
      return schema::ObjectOrigin::kFile;
  }
  __builtin_unreachable();
}

template <class T>
void keep_if(std::vector<T>& list, auto&& keeps) {
  std::erase_if(list, [&](const T& one) { return !keeps(one); });
}

// Puts the options before the change in the place of those whose change needs a restart.
template <class T>
void keep_old(configuration::Section section, const Differences& differences, const std::vector<T>& before,
              std::vector<T>& after) {
  for (T& one : after) {
    for (const T& old_one : before) {
      if (old_one.id != one.id) continue;
      const configuration::Difference* found = nullptr;
      if constexpr (requires { one.id->size(); }) {
        found = differences.find(section, *one.id);
      } else {
        found = differences.find(section, one.id);
      }
      if (found != nullptr && found->action == ConfigurationAction::kRestart) one = old_one;
    }
  }
}

// "log.level" as the names of members in the files.
std::vector<std::string> path_of_option(const std::string& option) {
  std::vector<std::string> path{"daemon"};
  const std::size_t dot = option.find('.');
  path.push_back(option.substr(0, dot));
  if (dot != std::string::npos) path.push_back(option.substr(dot + 1));
  return path;
}

// Puts the options that need no restart.
void adopt_live_options(const schema::DaemonConfiguration& read, schema::DaemonConfiguration& effective) {
  effective.metrics = read.metrics;
  if (!read.log && !effective.log) return;
  if (!effective.log) effective.log.emplace();
  effective.log->level = read.log ? read.log->level : std::nullopt;
  effective.log->format = read.log ? read.log->format : std::nullopt;
}

// True if an error says that a node cannot be reopened with the wanted options; or not yet, because an export that
// leaves writes to it.
bool cannot_reopen(const Error& error) {
  return error.message().contains("cannot support read-write users") ||
         error.message().contains("Cannot change the option") ||
         error.message().contains("cannot be reset to its default value") ||
         error.message().contains("does not support reopening files");
}

}  // namespace

Configurator::Configurator(Control& control, std::string path, ProcessOptions process)
    : control_(control), path_(std::move(path)), process_(std::move(process)), mutex_(control.reactor()) {}

void Configurator::mark_command_line() {
  for (const auto& object : control_.objects().all()) object->origin = Origin::kCommandLine;
  for (const block::GraphNode& one : control_.graph().nodes()) {
    control_.graph().set_origin(*one.node, Origin::kCommandLine);
  }
  for (exports::Export* one : control_.exports().list()) one->origin = Origin::kCommandLine;
}

configuration::Surroundings Configurator::surroundings() const {
  configuration::Surroundings found;
  for (const auto& object : control_.objects().all()) {
    if (object->origin != Origin::kFile) found.objects.emplace(object->id(), object->type_name());
  }
  for (const auto& chardev : control_.chardevs().all()) {
    const bool is_ours = std::ranges::any_of(
        in_effect_.chardevs, [&](const schema::ChardevConfiguration& one) { return one.id == chardev->label(); });
    if (!is_ours) found.chardevs.insert(chardev->label());
  }
  for (const auto& [id, server] : control_.servers().all()) {
    const bool is_ours = std::ranges::any_of(in_effect_.servers, [&](const auto& one) { return one.id == id; });
    if (!is_ours) found.servers.insert(id);
  }
  for (const block::GraphNode& one : control_.graph().nodes()) {
    const bool is_foreign = one.owned_by_user && one.origin != Origin::kFile && one.retired_name.empty();
    if (is_foreign) found.nodes.insert(one.node->name());
  }
  return found;
}

aio::Task<Result<>> Configurator::start(ReadConfiguration read) {
  if (read.findings.empty()) configuration::check(read, surroundings());
  if (!read.findings.empty()) co_return fail(read.findings.text());
  Differences differences = configuration::difference({}, read.content);
  drop_options_of_command_line(differences);
  // The process has begun with these.
  std::erase_if(differences.live_options, [](const std::string& option) { return option.starts_with("log."); });
  CO_TRY(co_await apply(read, differences, /*is_disruptive=*/false));
  in_effect_.daemon = read.content.daemon;
  adopt(std::move(read), {});
  co_return Result<>();
}

aio::Task<Result<ReadConfiguration>> Configurator::read() const {
  auto reading = std::make_shared<FileReading>();
  reading->path = path_;
  const std::shared_ptr<void> shared = reading;
  auto done = co_await control_.reactor().call_abandonably(FileReading::run, shared);
  if (!done) co_return fail(Error::system("cannot read the configuration", done.error()));
  co_return std::move(*reading->read);
}

aio::Task<Result<schema::ConfigReloadResult>> Configurator::reload(ReloadOptions options) {
  auto turn = co_await mutex_.lock();
  if (!turn) co_return fail("The reload was cancelled");
  if (options.is_dry_run) co_return co_await reload_now(options);
  if (process_.reload_begins) process_.reload_begins();
  Result<schema::ConfigReloadResult> result = co_await reload_now(options);
  if (result) {
    ++reloads_;
    last_error_.reset();
    control_.log().info(
        fmt::format("configuration reloaded from {}: {} differences", path_, result->differences.size()));
    warn_of_restart(*result);
  } else {
    ++failed_reloads_;
    last_error_ = result.error().message();
    control_.log().error(fmt::format("configuration not reloaded, nothing has changed: {}", *last_error_));
  }
  if (process_.reload_ended) process_.reload_ended();
  co_return result;
}

aio::Task<Result<schema::ConfigReloadResult>> Configurator::reload_now(ReloadOptions options) {
  CO_TRY_ASSIGN(ReadConfiguration read, co_await this->read());
  if (read.findings.empty()) configuration::check(read, surroundings());
  if (!read.findings.empty()) co_return fail(read.findings.text());
  Differences differences = compare(read.content, /*reopens=*/true);
  schema::ConfigReloadResult result{.differences = described(differences)};
  if (options.is_dry_run) co_return result;
  Result<> applied = co_await apply(read, differences, options.is_disruptive);
  if (!applied && cannot_reopen(applied.error())) {
    // Nothing has changed, so that a new node can take the place instead.
    differences = compare(read.content, /*reopens=*/false);
    result.differences = described(differences);
    applied = co_await apply(read, differences, options.is_disruptive);
  }
  if (!applied) co_return fail(std::move(applied).error());
  adopt(std::move(read), differences);
  co_return result;
}

aio::Task<Result<>> Configurator::apply(ReadConfiguration& read, const Differences& differences, bool is_disruptive) {
  const schema::Configuration before = present();
  Reload reload(control_, process_, before, read, differences, is_disruptive);
  co_return co_await reload.run();
}

Differences Configurator::compare(const schema::Configuration& wanted, bool reopens) const {
  Differences differences = configuration::difference(present(), wanted, reopens);
  drop_options_of_command_line(differences);
  // Properties that a command has changed are no options of the object's file.
  for (const schema::ObjectOptions& one : wanted.objects) {
    const UserObject* object = control_.objects().find(one.id);
    const bool has_changed = object != nullptr && object->origin == Origin::kFile && drift_of_object(one.id);
    if (!has_changed || differences.find(Section::kObjects, one.id) != nullptr) continue;
    differences.list.push_back({.section = Section::kObjects, .id = one.id, .action = ConfigurationAction::kReplace});
  }
  return differences;
}

void Configurator::drop_options_of_command_line(Differences& differences) const {
  auto is_given = [this](const std::string& option) {
    const std::string table = option.substr(0, option.find('.'));
    return process_.on_command_line.contains(option) || process_.on_command_line.contains(table);
  };
  std::erase_if(differences.live_options, is_given);
  std::erase_if(differences.daemon_options, is_given);
}

void Configurator::warn_of_restart(const schema::ConfigReloadResult& result) const {
  std::vector<std::string> names;
  for (const schema::ConfigurationDifference& one : result.differences) {
    if (one.action == ConfigurationAction::kRestart) names.push_back(fmt::format("{}.{}", one.section, one.id));
  }
  if (names.empty()) return;
  control_.log().warning(
      fmt::format("the daemon needs a restart, until which it keeps its former values of: {}", fmt::join(names, ", ")));
}

void Configurator::adopt(ReadConfiguration read, const Differences& differences) {
  const schema::DaemonConfiguration started_with = in_effect_.daemon;
  schema::Configuration effective = read.content;
  effective.daemon = started_with;
  adopt_live_options(read.content.daemon, effective.daemon);
  keep_old(Section::kChardevs, differences, in_effect_.chardevs, effective.chardevs);
  keep_old(Section::kMonitors, differences, in_effect_.monitors, effective.monitors);
  in_effect_ = std::move(effective);
  restart_options_ = differences.daemon_options;
  current_ = std::move(read);
  note_properties();
}

void Configurator::note_properties() {
  properties_.clear();
  for (const schema::ObjectOptions& one : in_effect_.objects) {
    if (const UserObject* object = control_.objects().find(one.id)) properties_.emplace(one.id, properties_of(*object));
  }
}

// --- drift ---

std::optional<std::string> Configurator::drift_of_object(const std::string& id) const {
  const UserObject* object = control_.objects().find(id);
  if (object == nullptr) return "removed by a command";
  if (object->origin != Origin::kFile) return "made anew by a command";
  const auto noted = properties_.find(id);
  if (noted != properties_.end() && noted->second != properties_of(*object)) return "changed by a command";
  return std::nullopt;
}

std::optional<std::string> Configurator::drift_of_node(const std::string& name,
                                                       const schema::BlockdevOptions& options) const {
  const block::Node* node = control_.graph().find(name);
  if (node == nullptr) return "removed by a command";
  const block::GraphNode& known = control_.graph().about(*node);
  if (known.origin != Origin::kFile) return "made anew by a command";
  if (schema::encode(known.options) != schema::encode(options)) return "reopened by a command";
  return std::nullopt;
}

std::optional<std::string> Configurator::drift_of_export(const std::string& id) const {
  const exports::Export* found = control_.exports().find(id);
  if (found == nullptr || found->shutting_down()) return "removed by a command";
  if (found->origin != Origin::kFile) return "made anew by a command";
  for (const schema::ExportConfiguration& one : in_effect_.exports) {
    if (one.id != id) continue;
    const auto own = configuration::own_node_of(one);
    return own ? drift_of_node(*own->node_name, *own) : std::nullopt;
  }
  return std::nullopt;
}

std::optional<std::string> Configurator::drift_of(Section section, const std::string& id) const {
  switch (section) {
    case Section::kObjects:
    case Section::kMonitors:
      return drift_of_object(id);
    case Section::kChardevs:
      return control_.chardevs().find(id) == nullptr ? std::optional<std::string>("removed by a command")
                                                     : std::nullopt;
    case Section::kNodes:
      for (const schema::BlockdevOptions& one : in_effect_.nodes) {
        if (one.node_name == id) return drift_of_node(id, one);
      }
      return std::nullopt;
    case Section::kServers:
      return control_.servers().find(id) == nullptr ? std::optional<std::string>("stopped by a command") : std::nullopt;
    case Section::kExports:
      return drift_of_export(id);
  }
  __builtin_unreachable();
}

// An object that was removed is made again. Of a node that a command has reopened these are the options that it has
// now, and an object with other properties has none of those that a file could give, so that it is replaced.
schema::Configuration Configurator::present() const {
  schema::Configuration found = in_effect_;
  keep_if(found.objects, [&](const auto& one) {
    const UserObject* object = control_.objects().find(one.id);
    return object != nullptr && object->origin == Origin::kFile;
  });
  for (schema::ObjectOptions& one : found.objects) {
    if (!drift_of_object(one.id)) continue;
    if (one.qom_type() == schema::ObjectType::kThrottleGroup) {
      one.branch = schema::ThrottleGroupProperties{.x_iops_total = -1};
    } else if (one.qom_type() == schema::ObjectType::kIothread) {
      one.branch = schema::IothreadProperties{.poll_max_ns = -1};
    }
  }
  keep_if(found.chardevs, [&](const auto& one) { return !drift_of(Section::kChardevs, one.id); });
  keep_if(found.monitors, [&](const auto& one) { return control_.objects().find(*one.id) != nullptr; });
  keep_if(found.servers, [&](const auto& one) { return !drift_of(Section::kServers, one.id); });
  auto has_node = [&](const std::string& name) {
    const block::Node* node = control_.graph().find(name);
    return node != nullptr && control_.graph().about(*node).origin == Origin::kFile;
  };
  keep_if(found.nodes, [&](const auto& one) { return has_node(*one.node_name); });
  for (schema::BlockdevOptions& one : found.nodes) {
    one = control_.graph().about(*control_.graph().find(*one.node_name)).options;
  }
  keep_if(found.exports, [&](const auto& one) {
    const exports::Export* made = control_.exports().find(one.id);
    return made != nullptr && made->origin == Origin::kFile && !made->shutting_down();
  });
  for (schema::ExportConfiguration& one : found.exports) {
    const auto own = configuration::own_node_of(one);
    if (!own) continue;
    const block::Node* node = control_.graph().find(*own->node_name);
    if (node == nullptr) {
      one.node.reset();
    } else {
      one.node = control_.graph().about(*node).options;
    }
  }
  return found;
}

std::vector<schema::ConfigurationDifference> Configurator::described(const Differences& differences) const {
  std::vector<schema::ConfigurationDifference> list;
  for (const std::string& option : differences.live_options) {
    list.push_back({.section = "daemon", .id = option, .action = ConfigurationAction::kChange});
  }
  for (const std::string& option : differences.daemon_options) {
    list.push_back({.section = "daemon", .id = option, .action = ConfigurationAction::kRestart});
  }
  for (const configuration::Difference& one : differences.list) {
    schema::ConfigurationDifference made{
        .section = std::string(name_of(one.section)), .id = one.id, .action = one.action};
    if (!one.options.empty()) made.options = one.options;
    const exports::Export* found = one.section == Section::kExports ? control_.exports().find(one.id) : nullptr;
    if (found != nullptr) made.clients = static_cast<std::uint32_t>(found->client_count());
    list.push_back(std::move(made));
  }
  return list;
}

// --- query ---

void Configurator::add_object(std::vector<schema::ConfiguredObject>& list, Section section, const std::string& id,
                              Origin origin) const {
  schema::ConfiguredObject made{.section = std::string(name_of(section)), .id = id, .origin = to_schema(origin)};
  if (origin == Origin::kFile) {
    const configuration::Place place = current_.places.of(section, id);
    made.file = place.file;
    made.line = static_cast<std::int64_t>(place.line);
    made.drift = drift_of(section, id);
  }
  list.push_back(std::move(made));
}

void Configurator::add_process_options(std::vector<schema::ConfiguredObject>& list) const {
  for (const std::string& option : process_.on_command_line) {
    list.push_back({.section = "daemon", .id = option, .origin = schema::ObjectOrigin::kCommandLine});
  }
  Differences named;
  named.daemon_options = configuration::options_of(current_.content.daemon);
  named.daemon_options.insert(named.daemon_options.end(), restart_options_.begin(), restart_options_.end());
  std::ranges::sort(named.daemon_options);
  named.daemon_options.erase(std::ranges::unique(named.daemon_options).begin(), named.daemon_options.end());
  drop_options_of_command_line(named);
  for (const std::string& option : named.daemon_options) {
    const configuration::Place place = current_.places.find(path_of_option(option));
    schema::ConfiguredObject made{.section = "daemon", .id = option, .origin = schema::ObjectOrigin::kFile};
    made.file = place.file;
    if (place.line > 0) made.line = static_cast<std::int64_t>(place.line);
    if (std::ranges::find(restart_options_, option) != restart_options_.end()) made.drift = "needs a restart";
    list.push_back(std::move(made));
  }
}

void Configurator::add_objects(std::vector<schema::ConfiguredObject>& list) const {
  for (const auto& object : control_.objects().all()) {
    const Section section = object->serves_commands() ? Section::kMonitors : Section::kObjects;
    add_object(list, section, object->id(), object->origin);
  }
  for (const block::GraphNode& one : control_.graph().nodes()) {
    if (one.owned_by_user && one.retired_name.empty()) add_object(list, Section::kNodes, one.node->name(), one.origin);
  }
  for (exports::Export* one : control_.exports().list()) {
    if (control_.exports().find(one->id()) == one) add_object(list, Section::kExports, one->id(), one->origin);
  }
  for (const auto& [id, server] : control_.servers().all()) {
    const bool is_ours = std::ranges::any_of(in_effect_.servers, [&](const auto& one) { return one.id == id; });
    add_object(list, Section::kServers, id, is_ours ? Origin::kFile : Origin::kCommand);
  }
  for (const auto& chardev : control_.chardevs().all()) {
    const std::string& id = chardev->label();
    const bool is_ours = std::ranges::any_of(in_effect_.chardevs, [&](const auto& one) { return one.id == id; });
    add_object(list, Section::kChardevs, id, is_ours ? Origin::kFile : Origin::kCommand);
  }
}

// Objects of the files that do not exist, or that a command has made anew.
void Configurator::add_missing(std::vector<schema::ConfiguredObject>& list) const {
  std::set<std::pair<std::string, std::string>> known;
  for (const schema::ConfiguredObject& one : list) {
    if (one.origin == schema::ObjectOrigin::kFile) known.emplace(one.section, one.id);
  }
  auto add = [&](Section section, const std::string& id) {
    if (!known.contains({std::string(name_of(section)), id})) add_object(list, section, id, Origin::kFile);
  };
  for (const auto& one : in_effect_.objects) add(Section::kObjects, one.id);
  for (const auto& one : in_effect_.chardevs) add(Section::kChardevs, one.id);
  for (const auto& one : in_effect_.monitors) add(Section::kMonitors, *one.id);
  for (const auto& one : in_effect_.nodes) add(Section::kNodes, *one.node_name);
  for (const auto& one : in_effect_.servers) add(Section::kServers, one.id);
  for (const auto& one : in_effect_.exports) add(Section::kExports, one.id);
}

std::string Configurator::place_of(Section section, const std::string& id) const {
  std::vector<schema::ConfiguredObject> list;
  add_missing(list);
  const std::string_view name = configuration::name_of(section);
  const bool is_ours = std::ranges::any_of(list, [&](const auto& one) { return one.section == name && one.id == id; });
  return is_ours ? configuration::text_of(current_.places.of(section, id)) : std::string();
}

schema::ConfigurationInfo Configurator::info() const {
  schema::ConfigurationInfo info{.file = path_, .files = current_.files, .configuration = current_.content};
  for (schema::ObjectOptions& one : info.configuration.objects) {
    auto* secret = std::get_if<schema::SecretProperties>(&one.branch);
    if (secret != nullptr && secret->data) secret->data = WipedText(std::string_view("(hidden)"));
  }
  add_process_options(info.objects);
  add_objects(info.objects);
  add_missing(info.objects);
  info.reloads = reloads_;
  info.failed_reloads = failed_reloads_;
  info.last_error = last_error_;
  info.restart_needed = restart_options_;
  if (runtime_ != nullptr) info.runtime = runtime_->info();
  return info;
}

// --- commands ---

aio::Task<Result<schema::ConfigReloadResult>> config_reload(Control& control, schema::ConfigReloadArguments arguments) {
  if (control.configurator() == nullptr) co_return fail("The daemon was started without a configuration file");
  co_return co_await control.configurator()->reload(
      {.is_dry_run = arguments.dry_run.value_or(false), .is_disruptive = arguments.disruptive.value_or(false)});
}

aio::Task<Result<schema::ConfigurationInfo>> query_config(Control& control) {
  if (control.configurator() == nullptr) co_return schema::ConfigurationInfo{};
  co_return control.configurator()->info();
}

}  // namespace blockexport::control
