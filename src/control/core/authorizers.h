// Authorizers: the authorizers among the objects that users made, by id, as those who serve peers look them up.
//
// Owned by Control; thread: the control reactor. Holds nothing of its own.
#pragma once

#include "authz/authorizer.h"
#include "base/log.h"
#include "control/core/object_store.h"

namespace blockexport::control {

class Authorizers final : public authz::Directory {
 public:
  explicit Authorizers(ObjectStore& objects) : objects_(objects) {}
  Result<std::shared_ptr<authz::Authorizer>> find(std::string_view id) override;

 private:
  ObjectStore& objects_;
};

// Whoever names an authorizer that is not there, or is none, may make it later; until then everybody is denied, which
// is said in the log when it is named.
void warn_of_missing_authorizer(authz::Directory& authorizers, const Log& log, std::string_view id);

}  // namespace blockexport::control
