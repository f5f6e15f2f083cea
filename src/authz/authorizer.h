// Authorizer: says whether a peer that has proved its identity may come in; Directory: where one is found by name.
//
// Authorizers belong to the objects that users make with object-add; one that is being asked lives until it has
// answered, whatever becomes of its object meanwhile. Who serves peers keeps only an ID and calls authorize() at each
// handshake, so that an object can be deleted and made again in between. Thread: the reactor's. Nothing here ever
// allows by default: what is missing, broken or not an authorizer denies, and says why.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "aio/task.h"
#include "base/error.h"

namespace blockexport::authz {

// `rule` and `reason` are for the log and, where a protocol can carry it, for the peer: printable, and without anything
// secret, but they may repeat parts of the identity.
struct Verdict {
  bool allowed = false;
  std::string rule;    // what decided: "rule 2 (glob CN=*)", "policy", "identity"; empty when nothing could decide
  std::string reason;  // a sentence without a full stop: why it is refused, or allowed
};

class Authorizer {
 public:
  virtual ~Authorizer() = default;
  // `identity` is the subject of a certificate in one line, or the user of a shared key. A task that is cancelled while
  // it waits gets a refusal.
  virtual aio::Task<Verdict> check(std::string identity) = 0;
};

class Directory {
 public:
  // Errors, worded for a log: there is no object of this ID, or it is of another kind.
  virtual Result<std::shared_ptr<Authorizer>> find(std::string_view id) = 0;

 protected:
  ~Directory() = default;
};

// Longest part of an identity, or of a reason, that a line of the log shows.
inline constexpr std::size_t kIdentityShownBytesMax = 1024;

// The text of a log line about a refused peer: "identity 'CN=a', rule: policy: it is not in the list". Whatever the
// identity and the reason hold, they come out printable, and cut after kIdentityShownBytesMax bytes.
std::string describe_refusal(std::string_view identity, std::string_view rule, std::string_view reason);

// Asks the authorizer `id` about `identity`, now. `directory` outlives the task.
aio::Task<Verdict> authorize(Directory& directory, std::string id, std::string identity);

}  // namespace blockexport::authz
