// ThrottleGroups: the throttle groups among the users' objects, for the drivers that join them.
// Owned by the daemon; thread: the control reactor. Has no state of its own.
#pragma once

#include "control/objects/throttle_group_object.h"

namespace blockexport::control {

// The object as a throttle group; null: it is none, or null.
ThrottleGroupObject* as_throttle_group(UserObject* object);

class ThrottleGroups final : public drivers::ThrottleDirectory {
 public:
  // `objects` outlives it.
  explicit ThrottleGroups(ObjectStore& objects) : objects_(objects) {}

  std::shared_ptr<drivers::ThrottleGroup> find_throttle_group(std::string_view id) override;
  // The daemon ends: nothing may hold requests up any more.
  void lift_all_limits();

 private:
  ObjectStore& objects_;
};

}  // namespace blockexport::control
