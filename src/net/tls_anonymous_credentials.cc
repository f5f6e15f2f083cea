#include "net/tls_anonymous_credentials.h"

#include <fmt/format.h>

#include "net/tls_dh_parameters.h"
#include "net/tls_files.h"
#include "net/tls_priority.h"

namespace blockexport::net {

Result<TlsCredentialsReference> TlsAnonymousCredentials::load(const TlsOptions& options) {
  std::shared_ptr<TlsAnonymousCredentials> credentials(new TlsAnonymousCredentials(options.endpoint));
  TRY_ASSIGN(credentials->priority_, make_priority(options.priority, kAnonymousSuffix, kAnonymousPriority));
  if (options.endpoint == TlsEndpoint::kClient) {
    credentials->client_ = make_gnutls<GnutlsAnonymousClient, gnutls_anon_allocate_client_credentials>();
    return credentials;
  }
  credentials->server_ = make_gnutls<GnutlsAnonymousServer, gnutls_anon_allocate_server_credentials>();
  std::optional<CredentialFile> own_parameters;
  if (!options.directory.empty()) {
    TRY_ASSIGN(own_parameters, read_optional_file({.directory = options.directory, .name = kDhParametersFile}));
  }
  if (own_parameters) {
    credentials->note_exposure(own_parameters->path, own_parameters->exposure);
    TRY_ASSIGN(credentials->dh_parameters_, read_dh_parameters(*own_parameters));
    gnutls_anon_set_server_dh_params(credentials->server_.get(), credentials->dh_parameters_.get());
  } else {
    gnutls_anon_set_server_known_dh_params(credentials->server_.get(), GNUTLS_SEC_PARAM_MEDIUM);
  }
  return credentials;
}

Result<> TlsAnonymousCredentials::attach(gnutls_session_int* session) const {
  int outcome = gnutls_priority_set(session, priority_.get());
  if (outcome >= 0) {
    outcome = server_ ? gnutls_credentials_set(session, GNUTLS_CRD_ANON, server_.get())
                      : gnutls_credentials_set(session, GNUTLS_CRD_ANON, client_.get());
  }
  if (outcome < 0) return fail(fmt::format("Cannot set session credentials: {}", gnutls_strerror(outcome)));
  return {};
}

}  // namespace blockexport::net
