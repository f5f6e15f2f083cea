#include "control/qom_tree.h"

#include <fmt/format.h>

namespace blockexport::control {

std::vector<QomTree::Place> QomTree::places() const {
  std::vector<Place> found{{.path = "/", .type = "container"},
                           {.path = "/objects", .type = "container"},
                           {.path = "/chardevs", .type = "container"}};
  for (const auto& object : objects_.all()) {
    found.push_back(
        {.path = "/objects/" + object->id(), .type = std::string(object->type_name()), .object = object.get()});
  }
  for (const auto& chardev : chardevs_.all()) {
    found.push_back({.path = "/chardevs/" + chardev->label(), .type = fmt::format("chardev-{}", chardev->kind())});
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

std::vector<schema::ObjectPropertyInfo> QomTree::list(const Place& place) const {
  std::vector<schema::ObjectPropertyInfo> listed{{.name = "type", .type = "string"}};
  if (place.object != nullptr) {
    for (const PropertyDescription& property : place.object->properties()) {
      listed.push_back({.name = std::string(property.name), .type = std::string(property.type)});
    }
  }
  std::string below = place.path == "/" ? "/" : place.path + "/";
  for (const Place& other : places()) {
    std::string_view rest = other.path;
    if (!rest.starts_with(below) || rest.size() == below.size()) continue;
    rest.remove_prefix(below.size());
    if (rest.find('/') != std::string_view::npos) continue;
    listed.push_back({.name = std::string(rest), .type = fmt::format("child<{}>", other.type)});
  }
  return listed;
}

}  // namespace blockexport::control
