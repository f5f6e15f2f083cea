#include "control/object_store.h"

#include <fmt/format.h>

#include "export/registry.h"

namespace blockexport::control {

UserObject* ObjectStore::find(std::string_view id) const {
  for (const auto& object : objects_) {
    if (object->id() == id) return object.get();
  }
  return nullptr;
}

Result<> ObjectStore::add(std::unique_ptr<UserObject> object) {
  const std::string& id = object->id();
  if (!exports::is_well_formed_id(id)) {
    return fail(Error("Parameter 'id' expects an identifier")
                    .with_hint("Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."));
  }
  if (find(id) != nullptr) {
    return fail(fmt::format("attempt to add duplicate property '{}' to object (type 'container')", id));
  }
  objects_.push_back(std::move(object));
  return {};
}

Result<> ObjectStore::remove(std::string_view id) {
  UserObject* found = find(id);
  if (found == nullptr) return fail(fmt::format("object '{}' not found", id));
  if (found->users > 0) return fail(fmt::format("object '{}' is in use, can not be deleted", id));
  std::erase_if(objects_, [&](const auto& object) { return object.get() == found; });
  return {};
}

}  // namespace blockexport::control
