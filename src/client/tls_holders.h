// `blockexport tls add`, `renew`, `revoke` and `bundle`: change a directory of TLS credentials after `init`.
//
// They handle users of keys.psk instead of certificates when `psk` is set, or when the directory has no ca-cert.pem.
// All block; only one process at a time can change a directory. Each file that a running server uses is replaced
// atomically. Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "client/tls_init.h"

namespace blockexport::client {

struct TlsHolderOptions {
  std::string directory;
  // Name of the client or the server; at most one of the two.
  std::string client;
  std::string server;
  std::vector<std::string> hosts;    // for add of a server: its names and addresses; none: its name
  std::int64_t days = kDaysDefault;  // for add and renew; limited by the expiry of the CA
  std::string ca_key;                // "": DIRECTORY/ca-key.pem
  bool new_key = false;              // for renew: make a new key too
  std::string certificate;           // for revoke: the file of a certificate, instead of a name
  std::string output;                // for bundle: "-" is standard output; "": NAME.tar
  bool psk = false;
};

// Each returns a report for the user with the next steps (bundle to "-": the archive). On an error nothing was changed.

// Adds a client or server, with all its files in clients/NAME or servers/NAME; or adds a line to keys.psk.
Result<std::string> tls_add(const TlsHolderOptions& options);
// Renews one certificate, or all that are not revoked, with a new key if requested; or gives a user a new key.
Result<std::string> tls_renew(const TlsHolderOptions& options);
// Adds a certificate to ca-crl.pem and to all its copies; or removes a user from keys.psk.
Result<std::string> tls_revoke(const TlsHolderOptions& options);
// Makes a tar archive of only the files that a client or server needs on its host.
Result<std::string> tls_bundle(const TlsHolderOptions& options);

}  // namespace blockexport::client
