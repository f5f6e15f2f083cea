// Credentials: what a directory holds for one side of a TLS connection, read and judged file by file.
//
// A trial handshake uses what was found fine. Blocks; thread: any.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/certificates.h"
#include "client/findings.h"
#include "client/tls_files.h"

namespace blockexport::client {

// A certificate that is valid for less is warned about.
inline constexpr std::int64_t kWarningDays = 30;

// What both sides trust: ca-cert.pem and ca-crl.pem.
struct Trust {
  std::string ca_pem;
  std::string revocations_pem;  // empty: there is none
  std::vector<Certificate> authorities;
};
// Nothing when it cannot be used.
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
// Whether one of the two files is there.
bool has_own_credentials(const std::string& directory, Side side);
// `trust` may be null. Nothing when there is a fault.
std::optional<OwnCredentials> check_own(const std::string& directory, Side side, const Trust* trust,
                                        Findings& findings);

// keys.psk.
struct SharedKey {
  std::string user;
  std::string key_hex;  // a secret
};
std::vector<SharedKey> parse_shared_keys(std::string_view text, Findings& findings);
std::vector<SharedKey> check_shared_keys(const std::string& directory, Findings& findings);

// A fault when others may read or change a secret file, or it belongs to somebody else than root, us, and the owner of
// the directory, for whom we may be looking.
void check_secret_file(const std::string& directory, std::string_view name, const ReadFile& file, Findings& findings);

}  // namespace blockexport::client
