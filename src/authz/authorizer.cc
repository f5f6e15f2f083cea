#include "authz/authorizer.h"

namespace blockexport::authz {

aio::Task<Verdict> authorize(Directory& directory, std::string id, std::string identity) {
  auto found = directory.find(id);
  if (!found) co_return Verdict{.allowed = false, .rule = {}, .reason = found.error().message()};
  // Held here: the object may be deleted while it thinks.
  std::shared_ptr<Authorizer> authorizer = std::move(*found);
  co_return co_await authorizer->check(std::move(identity));
}

}  // namespace blockexport::authz
