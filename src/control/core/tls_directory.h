// TlsCredentialObjects: lookup of TLS credentials by id among the users' objects, for the code that serves or calls
// peers. Owned by Control; thread: the control reactor. Has no state of its own.
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
