#include "authz/list_authorizers.h"

namespace blockexport::authz {

aio::Task<Verdict> SimpleAuthorizer::check(std::string identity) {
  bool is_it = identity == identity_;
  co_return Verdict{.allowed = is_it,
                    .rule = "identity",
                    .reason = is_it ? "it is the one that is allowed" : "it is not the one that is allowed"};
}

}  // namespace blockexport::authz
