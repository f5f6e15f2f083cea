// What the files that make certificates and revocation lists share: a row of calls to GnuTLS with one outcome, and what
// a CA signs with. Values; thread: any. Not for those who only read certificates.
#pragma once

#include <fmt/format.h>

#include <cstdint>

#include "client/certificates.h"

namespace blockexport::client {

// What is signed is valid from so long ago, for clocks that differ.
inline constexpr std::int64_t kBackdatedSeconds = 3600;

// The first failure of a row of calls.
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

// SHA-256, unless the CA's key, which others may have made, wants another one.
gnutls_digest_algorithm_t digest_of(const Identity& ca);

}  // namespace blockexport::client
