#include "control/authorizers.h"

#include <fmt/format.h>

namespace blockexport::control {

Result<std::shared_ptr<authz::Authorizer>> Authorizers::find(std::string_view id) {
  UserObject* object = objects_.find(id);
  if (object == nullptr) return fail(fmt::format("Cannot find QAuthZ object ID {}", id));
  std::shared_ptr<authz::Authorizer> authorizer = object->authorizer();
  if (authorizer == nullptr) return fail(fmt::format("Object '{}' is not a QAuthZ subclass", id));
  return authorizer;
}

}  // namespace blockexport::control
