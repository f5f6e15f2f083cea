// TlsCredentialObjects: the TLS credentials among the objects that users made, by id, as those who serve or call peers
// look them up. Owned by Control; thread: the control reactor. Holds nothing of its own.
#pragma once

#include "control/core/object_store.h"
#include "net/tls_credentials.h"

namespace blockexport::control {

class TlsCredentialObjects final : public net::TlsDirectory {
 public:
  explicit TlsCredentialObjects(ObjectStore& objects) : objects_(objects) {}
  Result<net::TlsCredentialsReference> find(std::string_view id, net::TlsEndpoint endpoint) override;

 private:
  ObjectStore& objects_;
};

}  // namespace blockexport::control
