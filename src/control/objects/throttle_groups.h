// ThrottleGroups: the throttle groups among the users' objects, for the drivers that join them.
//
// Owned by the daemon; thread: the control reactor. Has no state of its own.
#pragma once

#include "control/core/object_store.h"
#include "drivers/throttle/throttle_group.h"

namespace blockexport::control {

class ThrottleGroups final : public drivers::ThrottleDirectory {
 public:
  // `objects` outlives it.
  explicit ThrottleGroups(ObjectStore& objects) : objects_(objects) {}

  std::shared_ptr<drivers::ThrottleGroup> find_throttle_group(std::string_view id) override;

 private:
  ObjectStore& objects_;
};

}  // namespace blockexport::control
