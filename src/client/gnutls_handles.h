// GnuTLS's handles with owners, and its errors as ours. Thread: any.
#pragma once

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <type_traits>

#include "base/error.h"

namespace blockexport::client {

template <auto free_handle>
struct FreeHandle {
  template <class Handle>
  void operator()(Handle* handle) const {
    free_handle(handle);
  }
};
template <class Handle, auto free_handle>
using Owner = std::unique_ptr<std::remove_pointer_t<Handle>, FreeHandle<free_handle>>;

inline void free_trust_list(gnutls_x509_trust_list_t list) {
  gnutls_x509_trust_list_deinit(list, 1);
}

using Certificate = Owner<gnutls_x509_crt_t, gnutls_x509_crt_deinit>;
using PrivateKey = Owner<gnutls_x509_privkey_t, gnutls_x509_privkey_deinit>;
using RevocationList = Owner<gnutls_x509_crl_t, gnutls_x509_crl_deinit>;
using TrustList = Owner<gnutls_x509_trust_list_t, free_trust_list>;
using Session = Owner<gnutls_session_t, gnutls_deinit>;
using CertificateCredentials = Owner<gnutls_certificate_credentials_t, gnutls_certificate_free_credentials>;
using PskServerCredentials = Owner<gnutls_psk_server_credentials_t, gnutls_psk_free_server_credentials>;
using PskClientCredentials = Owner<gnutls_psk_client_credentials_t, gnutls_psk_free_client_credentials>;

// What `make(&handle)` makes; that fails for want of memory only.
template <class Owned, auto make>
Owned make_handle() {
  typename Owned::pointer handle = nullptr;
  if (make(&handle) < 0) std::abort();
  return Owned(handle);
}

inline gnutls_datum_t datum(const std::string& bytes) {
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data())), static_cast<unsigned>(bytes.size())};
}

// What `call(&datum)` gave, as a string, or GnuTLS's reason why not.
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
