// Sanity check of our own x509 credentials, before any peer connects. Thread: any; computation only.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "net/tls_credentials.h"

namespace blockexport::net {

// Most certificates of authorities in one file: more than any system trusts.
inline constexpr unsigned kAuthoritiesMax = 1024;
// Most certificates of our own chain, including ours.
inline constexpr unsigned kChainMax = 16;

struct OwnCertificates {
  TlsEndpoint endpoint;
  std::string_view path;  // path of our certificate; "" = there is none
  std::string_view pem;
  std::string_view authorities_path;
  std::string_view authorities_pem;
};

// Checks dates, constraints, usage and purpose of each certificate, and that one of the authorities has signed ours;
// authorities that are not needed may have faults. Errors are sentences that name the file.
Result<> check_certificates(const OwnCertificates& own);

// The expiry of the first certificate of each file; omits files that cannot be read.
std::vector<TlsExpiry> expiries_of(const OwnCertificates& own);

// A sentence for the result of a verification (gnutls_certificate_status_t, not 0), such as "The certificate has
// expired".
std::string describe_status(unsigned status);

}  // namespace blockexport::net
