// `blockexport tls add`, `renew`, `revoke` and `bundle`: what becomes of a directory of TLS credentials after `init`.
//
// A directory without ca-cert.pem, or with `psk` any, has users of keys.psk instead of certificates. All block; while
// one of them changes a directory the others refuse to. What a running server uses is replaced file by file, each at
// once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "client/tls_init.h"

namespace blockexport::client {

struct TlsHolderOptions {
  std::string directory;
  // Who: at most one of the two.
  std::string client;
  std::string server;
  std::vector<std::string> hosts;    // add, of a server: its names and addresses; none: its name
  std::int64_t days = kDaysDefault;  // add, renew: cut to the end of the CA
  std::string ca_key;                // "": DIRECTORY/ca-key.pem
  bool new_key = false;              // renew
  std::string certificate;           // revoke: the file of a certificate instead of a name
  std::string output;                // bundle: "-" is standard output; "": NAME.tar
  bool psk = false;
};

// Each answers with what was done and what comes next, for a person (bundle to "-": with the archive). Errors: nothing
// was changed.

// A further client or server: clients/NAME or servers/NAME, ready to be used; or a further line of keys.psk.
Result<std::string> tls_add(const TlsHolderOptions& options);
// New dates, and on demand a new key, for one or for all that were not revoked; or a new key of a user.
Result<std::string> tls_renew(const TlsHolderOptions& options);
// Into ca-crl.pem, there and where copies of it are; or out of keys.psk.
Result<std::string> tls_revoke(const TlsHolderOptions& options);
// A tar archive of what one of them needs on its host, and of nothing else.
Result<std::string> tls_bundle(const TlsHolderOptions& options);

}  // namespace blockexport::client
