#include "control/object_types.h"

#include <algorithm>

#include "control/iothread_object.h"

namespace blockexport::control {
namespace {

constexpr ObjectTypeEntry kTypes[] = {
    {"object", ""},
    {"event-loop-base", "object"},
    {"iothread", "event-loop-base", IothreadObject::property_list, IothreadObject::create},
};

constexpr const ObjectTypeEntry* find(std::string_view name) {
  const auto* found = std::ranges::find(kTypes, name, &ObjectTypeEntry::name);
  return found != std::end(kTypes) ? found : nullptr;
}

// What the schema lets users make can be made.
static_assert(std::ranges::all_of(schema::EnumNames<schema::ObjectType>::kNames, [](std::string_view name) {
  const ObjectTypeEntry* entry = find(name);
  return entry != nullptr && entry->create != nullptr;
}));

}  // namespace

bool ObjectTypeEntry::implements(std::string_view wanted) const {
  if (wanted == "user-creatable") return !is_abstract();
  for (const ObjectTypeEntry* one = this; one != nullptr; one = find(one->parent)) {
    if (one->name == wanted) return true;
  }
  return false;
}

std::span<const ObjectTypeEntry> object_types() {
  return kTypes;
}

const ObjectTypeEntry* find_object_type(std::string_view name) {
  return find(name);
}

}  // namespace blockexport::control
