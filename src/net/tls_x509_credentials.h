// TlsX509Credentials: our certificate and its key, the trusted authorities and their revocation list.
//
// The file names in the directory are: ca-cert.pem, ca-crl.pem, server-cert.pem, server-key.pem, client-cert.pem,
// client-key.pem, dh-params.pem. Immutable; see tls_credentials.h.
#pragma once

#include "base/secret_bytes.h"
#include "net/gnutls_handles.h"
#include "net/tls_credentials.h"

namespace blockexport::net {

struct TlsX509Options : TlsOptions {
  bool sanity_check = true;
  const SecretBytes* password = nullptr;  // password of an encrypted key; borrowed during load()
};

class TlsX509Credentials final : public TlsCredentials {
 public:
  // Blocking, so on a worker. Errors are sentences that name the file; docs/compatibility.md lists those that QSD does
  // not have.
  static Result<TlsCredentialsReference> load(const TlsX509Options& options);

  Result<> attach(gnutls_session_int* session) const override;
  std::expected<std::string, TlsRefusal> check_peer(gnutls_session_int* session,
                                                    const std::string& host) const override;
  std::vector<TlsExpiry> expiries() const override { return expiries_; }

 private:
  struct Files;
  explicit TlsX509Credentials(TlsEndpoint endpoint) : TlsCredentials(endpoint) {}
  Result<> take(const Files& files, const TlsX509Options& options);
  Result<> take_key(const Files& files, const SecretBytes* password);

  GnutlsPriority priority_;
  GnutlsDhParameters dh_parameters_;  // null when the directory has none
  GnutlsCertificates certificates_;
  std::vector<TlsExpiry> expiries_;
  bool verify_peer_ = true;
};

}  // namespace blockexport::net
