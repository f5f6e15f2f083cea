// ThrottleGroupObject: the object type "throttle-group": limits that throttle nodes share.
//
// The limits can be changed while requests wait. The object cannot be removed while a node is in its group. Owned by
// the ObjectStore; thread: the control reactor.
#pragma once

#include "control/core/object_store.h"
#include "drivers/throttle/throttle_group.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

class ThrottleGroupObject final : public UserObject {
 public:
  // Errors: limits that contradict each other, or are out of range.
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);

  std::string_view type_name() const override { return "throttle-group"; }
  std::span<const schema::Property> properties() const override;
  json::Value get(std::string_view name) const override;
  // Only "limits" may change; members that are left out keep their values.
  Result<> set(std::string_view name, const json::Value& value) override;
  // Errors: a node is in the group.
  Result<> check_removable() const override;
  // Requests that wait go, and no others wait.
  void begin_shutdown() override;
  std::shared_ptr<drivers::ThrottleGroup> throttle_group() override { return group_; }

 private:
  ThrottleGroupObject(Control& control, std::string id, std::shared_ptr<drivers::ThrottleGroup> group)
      : UserObject(std::move(id)), control_(control), group_(std::move(group)) {}

  Control& control_;
  std::shared_ptr<drivers::ThrottleGroup> group_;
};

}  // namespace blockexport::control
