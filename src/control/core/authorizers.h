// Authorizers: lookup of authorizers by id among the users' objects, for the code that serves peers.
//
// Owned by Control; thread: the control reactor. Has no state of its own.
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

// An option may name an authorizer that does not exist yet, or an object that is not one; until it exists everybody is
// denied. This logs a warning when the option is used. `server_id`: the NBD server that names it; empty: none does.
void warn_of_missing_authorizer(authz::Directory& authorizers, const Log& log, std::string_view id,
                                std::string_view server_id = {});

}  // namespace blockexport::control
