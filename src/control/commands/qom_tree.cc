#include "control/commands/qom_tree.h"

#include <fmt/format.h>

#include "control/commands/addresses.h"
#include "control/objects/object_types.h"
#include "schema/codec.h"

namespace blockexport::control {
namespace {

// The containers that always exist. No object is ever in the first and the last of them.
constexpr std::string_view kContainers[] = {"/", "/backend", "/objects", "/chardevs", "/audiodevs"};

json::Value value_of(const chardev::Chardev& chardev, std::string_view name) {
  if (name == "connected") return chardev.is_connected();
  return schema::encode(from_net(*chardev.address()));
}

}  // namespace

std::vector<QomTree::Entry> QomTree::entries() const {
  std::vector<Entry> found;
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

Result<QomTree::Entry> QomTree::find(std::string_view path) const {
  if (path.empty()) return fail(fmt::format("Path '{}' is ambiguous", path));
  std::string suffix = fmt::format("/{}", path);
  const Entry* match = nullptr;
  std::vector<Entry> all = entries();
  for (const Entry& entry : all) {
    bool fits = path.front() == '/' ? entry.path == path : entry.path.ends_with(suffix);
    if (!fits) continue;
    if (match != nullptr) return fail(fmt::format("Path '{}' is ambiguous", path));
    match = &entry;
  }
  if (match == nullptr) return fail(Error(ErrorKind::kDeviceNotFound, fmt::format("Device '{}' not found", path)));
  return *match;
}

std::vector<schema::ObjectPropertyValue> QomTree::properties(const Entry& entry) const {
  std::vector<schema::ObjectPropertyValue> listed{{.name = "type", .type = "string", .value = entry.type}};
  if (entry.object != nullptr) {
    for (const schema::Property& property : entry.object->properties()) {
      listed.push_back({.name = std::string(property.name), .type = std::string(property.type)});
      if (!property.is_secret) listed.back().value = entry.object->get(property.name);
    }
  }
  if (entry.chardev != nullptr && entry.chardev->address()) {
    for (const schema::Property& property : kSocketChardevProperties) {
      listed.push_back({.name = std::string(property.name),
                        .type = std::string(property.type),
                        .value = value_of(*entry.chardev, property.name)});
    }
  }
  std::string below = entry.path == "/" ? "/" : entry.path + "/";
  for (const Entry& other : entries()) {
    std::string_view rest = other.path;
    if (!rest.starts_with(below) || rest.size() == below.size()) continue;
    rest.remove_prefix(below.size());
    if (rest.find('/') != std::string_view::npos) continue;
    listed.push_back({.name = std::string(rest), .type = fmt::format("child<{}>", other.type), .value = other.path});
  }
  return listed;
}

}  // namespace blockexport::control
