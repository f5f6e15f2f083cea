#include "control/core/tls_directory.h"

#include <fmt/format.h>

namespace blockexport::control {

Result<net::TlsCredentialsReference> TlsCredentialObjects::find(std::string_view id, net::TlsEndpoint endpoint) {
  UserObject* object = objects_.find(id);
  if (object == nullptr) return fail(fmt::format("No TLS credentials with id '{}'", id));
  net::TlsCredentialsReference credentials = object->tls_credentials();
  if (credentials == nullptr) return fail(fmt::format("Object with id '{}' is not TLS credentials", id));
  if (credentials->endpoint() != endpoint) {
    return fail(fmt::format("Expected TLS credentials for a {} endpoint",
                            endpoint == net::TlsEndpoint::kServer ? "server" : "client"));
  }
  return credentials;
}

}  // namespace blockexport::control
