#include "control/core/authorizers.h"

#include <fmt/format.h>

#include "export/nbd/server/client_lines.h"

namespace blockexport::control {

Result<std::shared_ptr<authz::Authorizer>> Authorizers::find(std::string_view id) {
  UserObject* object = objects_.find(id);
  if (object == nullptr) return fail(fmt::format("Cannot find QAuthZ object ID {}", id));
  std::shared_ptr<authz::Authorizer> authorizer = object->authorizer();
  if (authorizer == nullptr) return fail(fmt::format("Object '{}' is not a QAuthZ subclass", id));
  return authorizer;
}

void warn_of_missing_authorizer(authz::Directory& authorizers, const Log& log, std::string_view id,
                                std::string_view server_id) {
  const auto found = authorizers.find(id);
  if (found) return;
  const LogField server{.name = "server", .value = server_id};
  log.warning(fmt::format("tls-authz '{}'{} denies everybody until there is such an authorization object: {}", id,
                          server_id.empty() ? std::string() : nbd::of_server(server_id), found.error().message()),
              {&server, server_id.empty() ? 0u : 1u});
}

}  // namespace blockexport::control
