// Credentials: reads and checks the files of a directory for one side of a TLS connection.
//
// A trial handshake uses the valid ones. Blocks; thread: any.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/certificates.h"
#include "client/findings.h"
#include "client/tls_files.h"

namespace blockexport::client {

// A certificate that expires sooner causes a warning.
inline constexpr std::int64_t kWarningDays = 30;

// The files that both sides trust: ca-cert.pem and ca-crl.pem.
struct Trust {
  std::string ca_pem;
  std::string revocations_pem;  // empty: no such file
  std::vector<Certificate> authorities;
};
// Reads and checks them. Nothing when they have a fault.
std::optional<Trust> check_trust(const std::string& directory, Findings& findings);

// SIDE-cert.pem and SIDE-key.pem.
struct OwnCredentials {
  std::string certificate_pem;
  std::string key_pem;  // a secret; empty: it is encrypted
  ~OwnCredentials();
  OwnCredentials() = default;
  OwnCredentials(OwnCredentials&&) = default;
  OwnCredentials& operator=(OwnCredentials&&) = default;
};
// True if one of the two files exists.
bool has_own_credentials(const std::string& directory, Side side);
// Reads and checks the two files. `trust` may be null. Nothing when there is a fault.
std::optional<OwnCredentials> check_own(const std::string& directory, Side side, const Trust* trust,
                                        Findings& findings);

// A line of keys.psk.
struct SharedKey {
  std::string user;
  std::string key_hex;  // a secret
};
std::vector<SharedKey> parse_shared_keys(std::string_view text, Findings& findings);
std::vector<SharedKey> check_shared_keys(const std::string& directory, Findings& findings);

// Adds a fault when other users may read or change a secret file, or when its owner is neither root, nor this user, nor
// the owner of the directory (root may run the check for another user).
void check_secret_file(const std::string& directory, std::string_view name, const ReadFile& file, Findings& findings);

}  // namespace blockexport::client
