#include "control/object_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "export/registry.h"

namespace blockexport::control {

UserObject* ObjectStore::find(std::string_view id) const {
  for (const auto& object : objects_) {
    if (object->id() == id) return object.get();
  }
  return nullptr;
}

Result<> ObjectStore::check_id(std::string_view id) {
  if (exports::is_well_formed_id(id)) return {};
  return fail(Error("Parameter 'id' expects an identifier")
                  .with_hint("Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."));
}

Result<> ObjectStore::check_is_new(std::string_view id) const {
  if (find(id) == nullptr) return {};
  return fail(fmt::format("attempt to add duplicate property '{}' to object (type 'container')", id));
}

void ObjectStore::add(std::unique_ptr<UserObject> object) {
  assert(find(object->id()) == nullptr);
  objects_.push_back(std::move(object));
}

Result<std::unique_ptr<UserObject>> ObjectStore::remove(std::string_view id) {
  auto found = std::ranges::find(objects_, id, [](const auto& object) -> std::string_view { return object->id(); });
  if (found == objects_.end()) return fail(fmt::format("object '{}' not found", id));
  if ((*found)->users > 0) return fail(fmt::format("object '{}' is in use, can not be deleted", id));
  std::unique_ptr<UserObject> object = std::move(*found);
  objects_.erase(found);
  return object;
}

aio::Task<void> ObjectStore::close(bool serving_commands) {
  for (;;) {
    auto last = std::find_if(objects_.rbegin(), objects_.rend(),
                             [&](const auto& object) { return object->serves_commands() == serving_commands; });
    if (last == objects_.rend()) co_return;
    std::unique_ptr<UserObject> object = std::move(*last);
    objects_.erase(std::next(last).base());
    co_await object->close();
  }
}

}  // namespace blockexport::control
