// Owning GnuTLS handles for the client tool, and conversion of GnuTLS's errors. Thread: any.
#pragma once

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <string>

#include "base/error.h"
#include "net/gnutls_handles.h"

namespace blockexport::client {

using net::GnutlsHandle;

inline void free_trust_list(gnutls_x509_trust_list_t list) {
  gnutls_x509_trust_list_deinit(list, 1);
}

using PublicKey = GnutlsHandle<gnutls_pubkey_t, gnutls_pubkey_deinit>;
using Certificate = GnutlsHandle<gnutls_x509_crt_t, gnutls_x509_crt_deinit>;
using PrivateKey = GnutlsHandle<gnutls_x509_privkey_t, gnutls_x509_privkey_deinit>;
using RevocationList = GnutlsHandle<gnutls_x509_crl_t, gnutls_x509_crl_deinit>;
using TrustList = GnutlsHandle<gnutls_x509_trust_list_t, free_trust_list>;
using Session = GnutlsHandle<gnutls_session_t, gnutls_deinit>;
using CertificateCredentials = GnutlsHandle<gnutls_certificate_credentials_t, gnutls_certificate_free_credentials>;
using PskServerCredentials = GnutlsHandle<gnutls_psk_server_credentials_t, gnutls_psk_free_server_credentials>;
using PskClientCredentials = GnutlsHandle<gnutls_psk_client_credentials_t, gnutls_psk_free_client_credentials>;

inline gnutls_datum_t datum(const std::string& bytes) {
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data())), static_cast<unsigned>(bytes.size())};
}

// The result of `call(&datum)` as a string, or GnuTLS's error text.
template <class Call>
Result<std::string> text_of(Call call) {
  gnutls_datum_t given{};
  if (int status = call(&given); status < 0) return fail(std::string(gnutls_strerror(status)));
  std::string text(reinterpret_cast<const char*>(given.data), given.size);
  gnutls_memset(given.data, 0, given.size);
  gnutls_free(given.data);
  return text;
}

}  // namespace blockexport::client
