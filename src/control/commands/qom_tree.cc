#include "control/commands/qom_tree.h"

#include <fmt/format.h>

#include "control/commands/addresses.h"
#include "control/objects/object_types.h"
#include "schema/codec.h"

namespace blockexport::control {
namespace {

// The containers that there are in any case. Nothing is put into the first and the last one here.
constexpr std::string_view kContainers[] = {"/", "/backend", "/objects", "/chardevs", "/audiodevs"};

json::Value value_of(const chardev::Chardev& chardev, std::string_view name) {
  if (name == "connected") return chardev.is_connected();
  return schema::encode(from_net(*chardev.address()));
}

}  // namespace

std::vector<QomTree::Place> QomTree::places() const {
  std::vector<Place> found;
  for (std::string_view path : kContainers) found.push_back({.path = std::string(path), .type = "container"});
  for (const auto& object : objects_.all()) {
    found.push_back(
        {.path = "/objects/" + object->id(), .type = std::string(object->type_name()), .object = object.get()});
  }
  for (const auto& chardev : chardevs_.all()) {
    found.push_back({.path = "/chardevs/" + chardev->label(),
                     .type = fmt::format("chardev-{}", chardev->kind()),
                     .chardev = chardev.get()});
  }
  return found;
}

Result<QomTree::Place> QomTree::find(std::string_view path) const {
  if (path.empty()) return fail(fmt::format("Path '{}' is ambiguous", path));
  std::string suffix = fmt::format("/{}", path);
  const Place* match = nullptr;
  std::vector<Place> all = places();
  for (const Place& place : all) {
    bool fits = path.front() == '/' ? place.path == path : place.path.ends_with(suffix);
    if (!fits) continue;
    if (match != nullptr) return fail(fmt::format("Path '{}' is ambiguous", path));
    match = &place;
  }
  if (match == nullptr) return fail(Error(ErrorKind::kDeviceNotFound, fmt::format("Device '{}' not found", path)));
  return *match;
}

std::vector<schema::ObjectPropertyValue> QomTree::properties(const Place& place) const {
  std::vector<schema::ObjectPropertyValue> listed{{.name = "type", .type = "string", .value = place.type}};
  if (place.object != nullptr) {
    for (const schema::Property& property : place.object->properties()) {
      listed.push_back({.name = std::string(property.name), .type = std::string(property.type)});
      if (!property.is_secret) listed.back().value = place.object->get(property.name);
    }
  }
  if (place.chardev != nullptr && place.chardev->address()) {
    for (const schema::Property& property : kSocketChardevProperties) {
      listed.push_back({.name = std::string(property.name),
                        .type = std::string(property.type),
                        .value = value_of(*place.chardev, property.name)});
    }
  }
  std::string below = place.path == "/" ? "/" : place.path + "/";
  for (const Place& other : places()) {
    std::string_view rest = other.path;
    if (!rest.starts_with(below) || rest.size() == below.size()) continue;
    rest.remove_prefix(below.size());
    if (rest.find('/') != std::string_view::npos) continue;
    listed.push_back({.name = std::string(rest), .type = fmt::format("child<{}>", other.type), .value = other.path});
  }
  return listed;
}

}  // namespace blockexport::control
