#include "control/objects/throttle_groups.h"

namespace blockexport::control {

ThrottleGroupObject* as_throttle_group(UserObject* object) {
  if (object == nullptr || object->type_name() != ThrottleGroupObject::kTypeName) return nullptr;
  return static_cast<ThrottleGroupObject*>(object);
}

std::shared_ptr<drivers::ThrottleGroup> ThrottleGroups::find_throttle_group(std::string_view id) {
  ThrottleGroupObject* object = as_throttle_group(objects_.find(id));
  return object != nullptr ? object->group() : nullptr;
}

void ThrottleGroups::lift_all_limits() {
  for (const auto& object : objects_.all()) {
    if (ThrottleGroupObject* group = as_throttle_group(object.get())) group->lift_limits();
  }
}

}  // namespace blockexport::control
