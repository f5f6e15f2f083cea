// What is wrong with our own certificates before anybody connects: the sanity check of x509 credentials.
// Thread: any; arithmetic only.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "net/tls_credentials.h"

namespace blockexport::net {

// Certificates of authorities that one file may hold and that are checked: more than any system trusts.
inline constexpr unsigned kAuthoritiesMax = 1024;
// Certificates of a chain of our own, ours among them, that are looked at.
inline constexpr unsigned kChainMax = 16;

struct OwnCertificates {
  TlsEndpoint endpoint;
  std::string_view path;  // of our certificate; "" = there is none
  std::string_view pem;
  std::string_view authorities_path;
  std::string_view authorities_pem;
};

// Dates, constraints, usage and purpose of each, and whether ours is signed by one of the authorities; those that it
// does not need may have faults. Errors are sentences that name the file.
Result<> check_certificates(const OwnCertificates& own);

// When the first certificate of each file ends; what cannot be read is left out.
std::vector<TlsExpiry> expiries_of(const OwnCertificates& own);

// Words for what a verification found (gnutls_certificate_status_t, not 0), as "The certificate has expired".
std::string describe_status(unsigned status);

}  // namespace blockexport::net
