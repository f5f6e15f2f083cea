#include "control/configuration/runtime_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "block/chain.h"
#include "block/edge.h"
#include "block/node.h"
#include "configuration/node_options.h"
#include "control/core/control.h"
#include "control/objects/object_types.h"
#include "schema/codec.h"

namespace blockexport::control {
namespace {

// Replaces the one of the same ID, or adds it.
template <class T>
void put(std::vector<T>& list, T one) {
  std::erase_if(list, [&](const T& other) { return id_of(other) == id_of(one); });
  list.push_back(std::move(one));
}

template <class T>
std::optional<T> decoded(const json::Value* arguments) {
  if (arguments == nullptr) return std::nullopt;
  Result<T> value = schema::decode<T>(*arguments);
  if (!value) return std::nullopt;
  return std::move(*value);
}

// A daemon that starts must not wait for a client of the socket.
json::Value without_wait(const json::Value& arguments) {
  json::Value changed = arguments;
  json::Value* backend = changed.as_object() != nullptr ? changed.as_object()->find("backend") : nullptr;
  json::Object* members = backend != nullptr ? backend->as_object() : nullptr;
  if (members == nullptr) return changed;
  const json::Value* type = members->find("type");
  json::Value* data = members->find("data");
  if (type == nullptr || *type != json::Value("socket") || data == nullptr || data->as_object() == nullptr) {
    return changed;
  }
  const json::Value* server = data->as_object()->find("server");
  if (server == nullptr || *server == json::Value(true)) data->as_object()->set("wait", false);
  return changed;
}

}  // namespace

void RuntimeRecord::note(std::string_view command, const json::Value* arguments) {
  if (command == "object-add") {
    if (auto options = decoded<schema::ObjectOptions>(arguments)) note(std::move(*options));
  } else if (command == "chardev-add" && arguments != nullptr) {
    const json::Value changed = without_wait(*arguments);
    if (auto chardev = decoded<schema::RuntimeChardev>(&changed)) note(std::move(*chardev));
  } else if (command == "nbd-server-start") {
    if (auto options = decoded<schema::NbdServerOptionsLegacy>(arguments)) note(std::move(*options));
  } else if (command == "nbd-servers-add") {
    if (auto options = decoded<schema::NbdServersAddArguments>(arguments)) note(std::move(*options));
  } else if (command == "block-export-add") {
    if (auto options = decoded<schema::BlockExportOptions>(arguments)) note(std::move(*options));
  } else if (command == "nbd-server-add" && arguments != nullptr) {
    add_deprecated(*arguments);
  } else if (command == "qom-set" && arguments != nullptr && arguments->as_object() != nullptr) {
    set_property(*arguments->as_object());
  }
}

void RuntimeRecord::note(schema::ObjectOptions options) {
  const auto* secret = options.as_if<schema::ObjectType::kSecret>();
  if (secret != nullptr && secret->data) {
    control_.log().warning(fmt::format(
        "the data of secret '{}' are not kept: after a restart it does not exist, nor does what uses it", options.id));
    return;
  }
  const bool is_monitor = options.qom_type() == schema::ObjectType::kMonitorQmp;
  put(is_monitor ? noted_.monitors : noted_.objects, std::move(options));
}

void RuntimeRecord::note(schema::RuntimeChardev chardev) {
  put(noted_.chardevs, std::move(chardev));
}

void RuntimeRecord::note(schema::NbdServerOptionsLegacy default_server) {
  noted_.default_server = std::move(default_server);
}

void RuntimeRecord::note(schema::NbdServersAddArguments server) {
  put(noted_.servers, std::move(server));
}

void RuntimeRecord::note(schema::BlockExportOptions options) {
  put(noted_.exports, std::move(options));
}

// As block-export-add would have made it.
void RuntimeRecord::add_deprecated(const json::Value& arguments) {
  const auto options = decoded<schema::NbdServerAddOptions>(&arguments);
  if (!options) return;
  const std::string id = options->name.value_or(options->device);
  const exports::Export* made = control_.exports().find(id);
  if (made == nullptr) return;
  schema::BlockExportOptionsNbd nbd{.name = id, .description = options->description};
  if (options->bitmap) nbd.bitmaps = {schema::BlockDirtyBitmapOrStr{*options->bitmap}};
  schema::BlockExportOptions same{.id = id, .node_name = made->node_name(), .writable = made->is_writable()};
  same.branch = std::move(nbd);
  note(std::move(same));
}

void RuntimeRecord::set_property(const json::Object& arguments) {
  const json::Value* path = arguments.find("path");
  const json::Value* property = arguments.find("property");
  const json::Value* value = arguments.find("value");
  if (path == nullptr || path->as_string() == nullptr || property == nullptr || value == nullptr) return;
  const std::string id = path->as_string()->substr(path->as_string()->rfind('/') + 1);
  const UserObject* object = control_.objects().find(id);
  const auto found = std::ranges::find(noted_.objects, id, [](const auto& one) { return one.id; });
  if (object == nullptr || found == noted_.objects.end()) return;
  json::Value encoded = schema::encode(*found);
  json::Object& members = *encoded.as_object();
  if (found->qom_type() == schema::ObjectType::kThrottleGroup) {
    // The property and its flat forms exclude each other.
    std::vector<std::string> flat;
    for (const auto& [name, limit] : members) {
      if (name.starts_with("x-")) flat.push_back(name);
    }
    for (const std::string& name : flat) members.erase(name);
    members.set("limits", object->get("limits"));
  } else {
    members.set(*property->as_string(), *value);
  }
  if (auto changed = decoded<schema::ObjectOptions>(&encoded)) *found = std::move(*changed);
}

void RuntimeRecord::forget_ended() {
  auto is_gone = [this](const schema::ObjectOptions& one) {
    const UserObject* object = control_.objects().find(one.id);
    return object == nullptr || object->origin != Origin::kCommand;
  };
  std::erase_if(noted_.objects, is_gone);
  std::erase_if(noted_.monitors, is_gone);
  std::erase_if(noted_.chardevs, [this](const auto& one) { return control_.chardevs().find(one.id) == nullptr; });
  std::erase_if(noted_.servers, [this](const auto& one) { return control_.servers().find(one.id) == nullptr; });
  if (control_.servers().find("default") == nullptr) noted_.default_server.reset();
  std::erase_if(noted_.exports, [this](const auto& one) {
    const exports::Export* found = control_.exports().find(one.id);
    return found == nullptr || found->origin != Origin::kCommand || found->shutting_down();
  });
}

void RuntimeRecord::add_nodes(schema::RuntimeState& state) const {
  for (const block::GraphNode& one : control_.graph().nodes()) {
    if (!one.owned_by_user || one.origin != Origin::kCommand || !one.retired_name.empty()) continue;
    state.nodes.push_back(one.options);
    state.nodes.back().node_name = one.node->name();
  }
  if (auto ordered = configuration::in_opening_order(state.nodes)) state.nodes = std::move(*ordered);
}

// The node that users know below the export: a backup has put filters of its own above it, and a snapshot another node.
std::string RuntimeRecord::node_of(const std::string& export_id) const {
  exports::Export* found = control_.exports().find(export_id);
  for (block::Node* node = &found->edge().node(); node != nullptr; node = block::filtered_node(*node)) {
    if (control_.graph().about(*node).owned_by_user) return node->name();
  }
  return found->node_name();
}

schema::RuntimeState RuntimeRecord::present() {
  forget_ended();
  schema::RuntimeState state = noted_;
  for (schema::BlockExportOptions& one : state.exports) one.node_name = node_of(one.id);
  add_nodes(state);
  return state;
}

}  // namespace blockexport::control
