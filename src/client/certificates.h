// Certificates: making a CA and what it signs, and telling what is in one.
//
// Keys are ECDSA P-256: every TLS 1.2 and 1.3 client has it, and a server signs several times as many handshakes a
// second with it as with RSA of the same strength. Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "client/gnutls_handles.h"

namespace blockexport::client {

inline constexpr std::int64_t kDaySeconds = 86'400;

// A certificate and its key.
struct Identity {
  Certificate certificate;
  PrivateKey key;
};

enum class Side { kServer, kClient };
std::string_view name_of(Side side);

// A self-signed one that signs others and nothing else. Valid from an hour ago, for clocks that differ.
Result<Identity> make_ca(std::string_view common_name, std::int64_t days);
// `hosts` are the DNS names and IP addresses of a server. Errors: a name that cannot be.
Result<Identity> make_identity(const Identity& ca, Side side, std::string_view common_name,
                               const std::vector<std::string>& hosts, std::int64_t days);

// A key of the kind that is made for certificates here.
Result<PrivateKey> make_key();
// The certificate as if it had been signed now: a new serial number and new dates, and for `key` unless that is null.
Result<> restamp(const Identity& ca, const Certificate& certificate, const PrivateKey* key, std::int64_t days);

// The CRL of a CA, as PEM: the certificates that `before`, an earlier CRL or null, has, and one more. It holds until
// the CA ends: nobody has to renew it in time, and whoever forgets does not lock everybody out.
Result<std::string> revoke_certificate(const Identity& ca, const RevocationList* before, const Certificate& revoked);
// Whether the CRL names the certificate.
bool is_revoked(const RevocationList& list, const Certificate& certificate);
Result<RevocationList> parse_revocations(const std::string& pem);

Result<std::string> certificate_pem(const Certificate& certificate);
// A secret; PKCS #8, not encrypted.
Result<std::string> key_pem(const PrivateKey& key);

// All certificates of a PEM text. Errors: there is none, or more than 64, or one is broken.
inline constexpr unsigned kCertificatesMax = 64;
Result<std::vector<Certificate>> parse_certificates(const std::string& pem);

// "CN=client": in the order of the certificate, as authorization objects are asked about it.
std::string subject_of(const Certificate& certificate);
std::string issuer_of(const Certificate& certificate);
// "DNS:localhost", "IP:127.0.0.1"
std::vector<std::string> alternative_names(const Certificate& certificate);
// "AB:CD:...", SHA-256 of the whole.
std::string fingerprint_of(const Certificate& certificate);
// "2026-11-24"; UTC.
std::string date_text(std::int64_t seconds);

}  // namespace blockexport::client
