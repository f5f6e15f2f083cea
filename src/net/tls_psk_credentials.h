// TlsPskCredentials: pre-shared keys from the file keys.psk of the directory. A server has many users, a client is one
// of them. Immutable; see tls_credentials.h.
#pragma once

#include "net/gnutls_handles.h"
#include "net/psk_file.h"
#include "net/tls_credentials.h"
#include "net/tls_files.h"

namespace blockexport::net {

struct TlsPskOptions : TlsOptions {
  std::string username = {};  // user name of a client; "" = "qemu"
};

using GnutlsPskServer = GnutlsHandle<gnutls_psk_server_credentials_t, gnutls_psk_free_server_credentials>;
using GnutlsPskClient = GnutlsHandle<gnutls_psk_client_credentials_t, gnutls_psk_free_client_credentials>;

class TlsPskCredentials final : public TlsCredentials {
 public:
  // Blocking, so on a worker. Errors are sentences that name the file.
  static Result<TlsCredentialsReference> load(const TlsPskOptions& options);

  Result<> attach(gnutls_session_int* session) const override;
  std::expected<std::string, TlsRefusal> check_peer(gnutls_session_int* session,
                                                    const std::string& host) const override;

 private:
  explicit TlsPskCredentials(TlsEndpoint endpoint) : TlsCredentials(endpoint) {}
  Result<CredentialFile> read_keys(const TlsPskOptions& options);
  Result<> take_server(const TlsPskOptions& options);
  Result<> take_client(const TlsPskOptions& options);
  static int find_key(gnutls_session_t session, const gnutls_datum_t* user, gnutls_datum_t* key);

  GnutlsPriority priority_;
  PskFile users_;
  GnutlsDhParameters dh_parameters_;
  GnutlsPskServer server_;
  GnutlsPskClient client_;
};

}  // namespace blockexport::net
