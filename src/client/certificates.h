// Certificates: creates a CA, certificates and revocation lists, and reads their fields.
//
// Keys are ECDSA P-256: every TLS 1.2 and 1.3 client supports it, and a server signs several times as many handshakes
// per second as with RSA of the same strength. Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "client/gnutls_handles.h"

namespace blockexport::client {

inline constexpr std::int64_t kDaySeconds = 86'400;

// A certificate and its private key.
struct Identity {
  Certificate certificate;
  PrivateKey key;
};

enum class Side { kServer, kClient };
std::string_view name_of(Side side);

// Creates a self-signed CA certificate. It is valid from an hour ago, because clocks may differ.
Result<Identity> make_ca(std::string_view common_name, std::int64_t days);
// Creates a certificate signed by `ca`. `hosts`: the DNS names and IP addresses of a server. Error: an invalid name.
Result<Identity> make_identity(const Identity& ca, Side side, std::string_view common_name,
                               const std::vector<std::string>& hosts, std::int64_t days);

// Creates an ECDSA P-256 key.
Result<PrivateKey> make_key();
// Signs the certificate again, with a new serial number and new dates, and for `key` unless that is null.
Result<> restamp(const Identity& ca, const Certificate& certificate, const PrivateKey* key, std::int64_t days);

// Returns a CRL of the CA as PEM: the entries of `before` (an earlier CRL, or null) and `revoked`. It is valid until
// the CA expires, so that no user must renew it in time: an expired CRL would refuse all peers.
Result<std::string> revoke_certificate(const Identity& ca, const RevocationList* before, const Certificate& revoked);
// True if the CRL names the certificate.
bool is_revoked(const RevocationList& list, const Certificate& certificate);
Result<RevocationList> parse_revocations(const std::string& pem);

Result<std::string> certificate_pem(const Certificate& certificate);
// PKCS #8, not encrypted; the result is a secret.
Result<std::string> key_pem(const PrivateKey& key);

// Parses all certificates of a PEM text. Errors: there is none, there are more than kCertificatesMax, or one is
// invalid.
inline constexpr unsigned kCertificatesMax = 64;
Result<std::vector<Certificate>> parse_certificates(const std::string& pem);

// "CN=client": the subject in the certificate's order, which authorization objects check.
std::string subject_of(const Certificate& certificate);
std::string issuer_of(const Certificate& certificate);
// "DNS:localhost", "IP:127.0.0.1"
std::vector<std::string> alternative_names(const Certificate& certificate);
// "AB:CD:...": SHA-256 of the certificate.
std::string fingerprint_of(const Certificate& certificate);
// "2026-11-24"; UTC.
std::string date_text(std::int64_t seconds);

}  // namespace blockexport::client
