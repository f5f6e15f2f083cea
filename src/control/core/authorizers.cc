#include "control/core/authorizers.h"

#include <fmt/format.h>

namespace blockexport::control {

Result<std::shared_ptr<authz::Authorizer>> Authorizers::find(std::string_view id) {
  UserObject* object = objects_.find(id);
  if (object == nullptr) return fail(fmt::format("Cannot find QAuthZ object ID {}", id));
  std::shared_ptr<authz::Authorizer> authorizer = object->authorizer();
  if (authorizer == nullptr) return fail(fmt::format("Object '{}' is not a QAuthZ subclass", id));
  return authorizer;
}

void warn_of_missing_authorizer(authz::Directory& authorizers, const Log& log, std::string_view id) {
  const auto found = authorizers.find(id);
  if (found) return;
  log.warning(fmt::format("tls-authz '{}' denies everybody until there is such an authorization object: {}", id,
                          found.error().message()));
}

}  // namespace blockexport::control
