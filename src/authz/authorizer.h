// Authorizer: decides whether an authenticated peer may connect; Directory: looks authorizers up by ID.
//
// Authorizers belong to the objects that users create with object-add; a check keeps its authorizer alive until it
// ends, even if the object is deleted meanwhile. Servers keep only an ID and call authorize() at each handshake, so an
// object can be deleted and created again in between. Thread: the reactor's. The default is to deny: a missing or
// broken object, or one of another kind, denies and gives the reason.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "aio/task/task.h"
#include "base/error.h"

namespace blockexport::authz {

// Result of a check. `rule` and `reason` go to the log and, where the protocol can carry them, to the peer: they are
// printable and hold no secret, but may repeat parts of the identity.
struct Verdict {
  bool allowed = false;
  std::string rule;    // the rule that decided: "rule 2 (glob CN=*)", "policy", "identity"; empty when none could
  std::string reason;  // the reason of the decision: a sentence without a full stop
};

class Authorizer {
 public:
  virtual ~Authorizer() = default;
  // `identity` is the subject of a certificate in one line, or the user name of a shared key. A check that is cancelled
  // while it waits denies.
  virtual aio::Task<Verdict> check(std::string identity) = 0;
};

class Directory {
 public:
  // Errors: there is no object of this ID, or it is of another kind. Their texts are meant for the log.
  virtual Result<std::shared_ptr<Authorizer>> find(std::string_view id) = 0;

 protected:
  ~Directory() = default;
};

// Longest part of an identity, or of a reason, that a log line shows.
inline constexpr std::size_t kIdentityShownBytesMax = 1024;

// The text of a log line about a refused peer: "identity 'CN=a', rule: policy: it is not in the list". Control bytes of
// the identity and the reason are escaped, and each is truncated after kIdentityShownBytesMax bytes.
std::string describe_refusal(std::string_view identity, std::string_view rule, std::string_view reason);

// Looks up the authorizer `id` and checks `identity` with it. `directory` outlives the task.
aio::Task<Verdict> authorize(Directory& directory, std::string id, std::string identity);

}  // namespace blockexport::authz
