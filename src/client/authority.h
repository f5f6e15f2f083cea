// Authority: certificate authority (CA) of a directory, with its private key; operations on certificates that it has
// signed.
//
// A value that is loaded and checked completely before it signs anything. Blocks; thread: any.
#pragma once

#include <string>

#include "client/certificates.h"
#include "client/tls_files.h"

namespace blockexport::client {

struct Authority {
  Identity identity;
  std::string certificate_pem;
  std::int64_t end_seconds = 0;  // expiry of its certificate, Unix time
};

// `key_path`: file of its key; "": DIRECTORY/ca-key.pem. Errors: certificate or key is missing, damaged or encrypted,
// they do not match, or the CA has expired.
Result<Authority> load_authority(const std::string& directory, const std::string& key_path);

// The smaller of `days` and the remaining validity of the CA, in days. Error: the CA expires within a day.
Result<std::int64_t> days_within(const Authority& authority, std::int64_t days);

// True if the CA has signed the certificate; ignores its dates.
bool has_signed(const Authority& authority, const Certificate& certificate);

// Renews a certificate that the CA has signed: returns its file with new dates (`days` from now) and a new serial
// number; other fields and the rest of the chain stay. With `key` the certificate is for that key. Error: another CA
// has signed it.
Result<std::string> sign_anew(const Authority& authority, const ReadFile& file, const PrivateKey* key,
                              std::int64_t days);

}  // namespace blockexport::client
