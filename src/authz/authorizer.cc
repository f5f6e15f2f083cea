#include "authz/authorizer.h"

#include <fmt/format.h>

#include "base/printable.h"

namespace blockexport::authz {

std::string describe_refusal(std::string_view identity, std::string_view rule, std::string_view reason) {
  return fmt::format("identity '{}', rule: {}: {}", printable(identity, kIdentityShownBytesMax), rule,
                     printable(reason, kIdentityShownBytesMax));
}

aio::Task<Verdict> authorize(Directory& directory, std::string id, std::string identity) {
  auto found = directory.find(id);
  if (!found) co_return Verdict{.allowed = false, .rule = {}, .reason = found.error().message()};
  // Holds a reference: the object may be deleted while the check runs.
  std::shared_ptr<Authorizer> authorizer = std::move(*found);
  co_return co_await authorizer->check(std::move(identity));
}

}  // namespace blockexport::authz
