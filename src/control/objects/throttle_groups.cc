#include "control/objects/throttle_groups.h"

namespace blockexport::control {

std::shared_ptr<drivers::ThrottleGroup> ThrottleGroups::find_throttle_group(std::string_view id) {
  UserObject* const object = objects_.find_for_opening(id);
  return object != nullptr ? object->throttle_group() : nullptr;
}

}  // namespace blockexport::control
