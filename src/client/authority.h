// Authority: the CA of a directory with its key, to sign with; and what is done to certificates that it has signed.
//
// A value, read whole and checked before anything is signed. Blocks; thread: any.
#pragma once

#include <string>

#include "client/certificates.h"
#include "client/tls_files.h"

namespace blockexport::client {

struct Authority {
  Identity identity;
  std::string certificate_pem;
  std::int64_t end_seconds = 0;  // when its certificate ends
};

// `key_path` is where its key is; "": DIRECTORY/ca-key.pem. Errors: one of the two is missing, broken or encrypted,
// they do not belong together, or the CA has expired.
Result<Authority> load_authority(const std::string& directory, const std::string& key_path);

// How long a certificate may be valid that is wanted for `days`: not longer than the CA. Errors: less than a day is
// left.
Result<std::int64_t> days_within(const Authority& authority, std::int64_t days);

// Whether the CA has signed the certificate, whatever its dates are.
bool has_signed(const Authority& authority, const Certificate& certificate);

// The file of a certificate that the CA has signed, for as long from now on and with a new serial number; all else in
// it stays, and so does the chain behind it. With `key` it is for that key. Errors: somebody else has signed it.
Result<std::string> sign_anew(const Authority& authority, const ReadFile& file, const PrivateKey* key,
                              std::int64_t days);

}  // namespace blockexport::client
