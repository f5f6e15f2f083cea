// TlsAnonymousCredentials: TLS without authentication: the connection is encrypted, but neither side knows its peer.
// TLS 1.2 only. Immutable; see tls_credentials.h.
#pragma once

#include "net/gnutls_handles.h"
#include "net/tls_credentials.h"

namespace blockexport::net {

using GnutlsAnonymousServer = GnutlsHandle<gnutls_anon_server_credentials_t, gnutls_anon_free_server_credentials>;
using GnutlsAnonymousClient = GnutlsHandle<gnutls_anon_client_credentials_t, gnutls_anon_free_client_credentials>;

class TlsAnonymousCredentials final : public TlsCredentials {
 public:
  // Blocks when a directory is given, which may hold dh-params.pem.
  static Result<TlsCredentialsReference> load(const TlsOptions& options);

  Result<> attach(gnutls_session_int* session) const override;
  std::expected<std::string, TlsRefusal> check_peer(gnutls_session_int*, const std::string&) const override {
    return std::string();
  }

 private:
  explicit TlsAnonymousCredentials(TlsEndpoint endpoint) : TlsCredentials(endpoint) {}

  GnutlsPriority priority_;
  GnutlsDhParameters dh_parameters_;
  GnutlsAnonymousServer server_;
  GnutlsAnonymousClient client_;
};

}  // namespace blockexport::net
