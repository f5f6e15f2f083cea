// Owning wrappers of GnuTLS handles. Only for the TLS files of this folder, and for the client tool, which has no
// TlsStream: no other code includes GnuTLS. Thread: any.
#pragma once

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <cstdlib>
#include <memory>
#include <type_traits>

namespace blockexport::net {

template <auto free_handle>
struct GnutlsFree {
  template <class Handle>
  void operator()(Handle* handle) const {
    free_handle(handle);
  }
};

template <class Handle, auto free_handle>
using GnutlsHandle = std::unique_ptr<std::remove_pointer_t<Handle>, GnutlsFree<free_handle>>;

using GnutlsSession = GnutlsHandle<gnutls_session_t, gnutls_deinit>;
using GnutlsPriority = GnutlsHandle<gnutls_priority_t, gnutls_priority_deinit>;
using GnutlsCertificates = GnutlsHandle<gnutls_certificate_credentials_t, gnutls_certificate_free_credentials>;
using GnutlsCertificate = GnutlsHandle<gnutls_x509_crt_t, gnutls_x509_crt_deinit>;
using GnutlsDhParameters = GnutlsHandle<gnutls_dh_params_t, gnutls_dh_params_deinit>;

// Creates a handle with `make(&handle)`. These functions fail only when memory runs out, which aborts the process.
template <class Owner, auto make>
Owner make_gnutls() {
  typename Owner::pointer handle = nullptr;
  if (make(&handle) < 0) std::abort();
  return Owner(handle);
}

}  // namespace blockexport::net
