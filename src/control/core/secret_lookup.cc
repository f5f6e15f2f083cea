#include "control/core/secret_lookup.h"

#include <fmt/format.h>

namespace blockexport::control {

Result<SecretReference> find_secret(ObjectStore& objects, const std::string& id) {
  UserObject* object = objects.find_for_opening(id);
  if (object == nullptr) return fail(fmt::format("No secret with id '{}'", id));
  SecretReference secret = object->secret();
  if (secret == nullptr) return fail(fmt::format("Object with id '{}' is not a secret", id));
  return secret;
}

}  // namespace blockexport::control
