// Signing: shared parts of the files that create certificates and revocation lists: Calls, the common result of a
// sequence of GnuTLS calls, and the digest of a CA. Values; thread: any.
#pragma once

#include <fmt/format.h>

#include <cstdint>

#include "client/certificates.h"

namespace blockexport::client {

// Validity begins this long before the signature, because clocks may differ.
inline constexpr std::int64_t kBackdatedSeconds = 3600;

// The first error of a sequence of calls.
class Calls {
 public:
  Calls& operator<<(int status) {
    if (status < 0 && status_ >= 0) status_ = status;
    return *this;
  }
  // Errors: "cannot make WHAT: REASON".
  Result<> result(std::string_view what = "a certificate") const {
    if (status_ >= 0) return {};
    return fail(fmt::format("cannot make {}: {}", what, gnutls_strerror(status_)));
  }

 private:
  int status_ = 0;
};

// The digest for signatures: SHA-256, unless the CA's key, which may come from another tool, prefers another one.
gnutls_digest_algorithm_t digest_of(const Identity& ca);

}  // namespace blockexport::client
