#include "control/core/object_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <iterator>

#include "base/identifier.h"

namespace blockexport::control {

Result<> UserObject::check_removable() const {
  if (users == 0) return {};
  return fail(fmt::format("object '{}' is in use, can not be deleted", id()));
}

UserObject* ObjectStore::find(std::string_view id) const {
  auto found = objects_by_id_.find(id);
  return found != objects_by_id_.end() ? found->second->get() : nullptr;
}

UserObject* ObjectStore::find_for_opening(std::string_view id) const {
  for (UserObject* object : staged_) {
    if (object->id() == id) return object;
  }
  return find(id);
}

std::unique_ptr<UserObject> ObjectStore::replace(std::unique_ptr<UserObject> object) {
  auto found = objects_by_id_.find(object->id());
  assert(found != objects_by_id_.end());
  auto position = found->second;
  objects_by_id_.erase(found);
  position->swap(object);
  objects_by_id_.emplace((*position)->id(), position);
  return object;
}

Result<> ObjectStore::check_id(std::string_view id) {
  if (is_identifier(id)) return {};
  return fail(Error("Parameter 'id' expects an identifier").with_hint(kIdentifierHint));
}

Result<ReservedNames::Reservation> ObjectStore::reserve(std::string_view id) {
  if (find(id) == nullptr && !ids_being_made_.contains(id)) return ids_being_made_.reserve(id);
  return fail(fmt::format("attempt to add duplicate property '{}' to object (type 'container')", id));
}

void ObjectStore::add(std::unique_ptr<UserObject> object) {
  assert(find(object->id()) == nullptr);
  objects_.push_back(std::move(object));
  objects_by_id_.emplace(objects_.back()->id(), std::prev(objects_.end()));
}

Result<std::unique_ptr<UserObject>> ObjectStore::remove(std::string_view id) {
  auto found = objects_by_id_.find(id);
  if (found == objects_by_id_.end()) return fail(fmt::format("object '{}' not found", id));
  auto position = found->second;
  TRY((*position)->check_removable());
  std::unique_ptr<UserObject> object = std::move(*position);
  objects_by_id_.erase(found);
  objects_.erase(position);
  return object;
}

aio::Task<void> ObjectStore::close(bool serving_commands) {
  for (;;) {
    auto last = std::find_if(objects_.rbegin(), objects_.rend(),
                             [&](const auto& object) { return object->serves_commands() == serving_commands; });
    if (last == objects_.rend()) co_return;
    std::unique_ptr<UserObject> object = std::move(*last);
    objects_.erase(std::next(last).base());
    objects_by_id_.erase(object->id());
    co_await object->close();
  }
}

}  // namespace blockexport::control
