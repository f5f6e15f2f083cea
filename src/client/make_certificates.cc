#include <arpa/inet.h>
#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <gnutls/x509-ext.h>

#include <array>
#include <ctime>

#include "client/signing.h"

namespace blockexport::client {
namespace {

constexpr std::size_t kHostBytesMax = 253;  // limit of a DNS name

// Sets a new serial number, and a validity from an hour ago to `days` from now.
void stamp(gnutls_x509_crt_t crt, std::int64_t days, Calls& calls) {
  std::array<unsigned char, 16> serial{};
  const std::int64_t now = std::time(nullptr);
  calls << gnutls_rnd(GNUTLS_RND_NONCE, serial.data(), serial.size());
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7f) | 0x40);  // positive, without a leading zero byte
  calls << gnutls_x509_crt_set_serial(crt, serial.data(), serial.size())
        << gnutls_x509_crt_set_activation_time(crt, now - kBackdatedSeconds)
        << gnutls_x509_crt_set_expiration_time(crt, now + days * kDaySeconds);
}

// Sets the key and its ID. It also works when the certificate has an ID already, which
// gnutls_x509_crt_set_subject_key_id() refuses.
void set_key(gnutls_x509_crt_t crt, const PrivateKey& key, Calls& calls) {
  std::string key_id(32, '\0');
  std::size_t key_id_bytes = key_id.size();
  calls << gnutls_x509_crt_set_key(crt, key.get())
        << gnutls_x509_privkey_get_key_id(key.get(), GNUTLS_KEYID_USE_SHA1,
                                          reinterpret_cast<unsigned char*>(key_id.data()), &key_id_bytes);
  key_id.resize(key_id_bytes);
  const gnutls_datum_t id = datum(key_id);
  gnutls_datum_t encoded{};
  calls << gnutls_x509_ext_export_subject_key_id(&id, &encoded)
        << gnutls_x509_crt_set_extension_by_oid(crt, GNUTLS_X509EXT_OID_SUBJECT_KEY_ID, encoded.data, encoded.size, 0);
  gnutls_free(encoded.data);
}

// Creates a certificate with the fields that all of ours have.
Result<Identity> begin(std::string_view common_name, std::int64_t days) {
  TRY_ASSIGN(PrivateKey key, make_key());
  auto certificate = net::make_gnutls<Certificate, gnutls_x509_crt_init>();
  Calls calls;
  gnutls_x509_crt_t crt = certificate.get();
  calls << gnutls_x509_crt_set_version(crt, 3)
        << gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, common_name.data(),
                                         static_cast<unsigned>(common_name.size()));
  stamp(crt, days, calls);
  set_key(crt, key, calls);
  TRY(calls.result());
  return Identity{.certificate = std::move(certificate), .key = std::move(key)};
}

// A server's name or address in the encoding of a certificate.
struct Host {
  gnutls_x509_subject_alt_name_t type;
  std::string bytes;
};

Result<Host> parse_host(const std::string& text) {
  std::array<char, 16> address;
  for (int family : {AF_INET, AF_INET6}) {
    if (inet_pton(family, text.c_str(), address.data()) != 1) continue;
    return Host{.type = GNUTLS_SAN_IPADDRESS, .bytes = std::string(address.data(), family == AF_INET ? 4 : 16)};
  }
  constexpr std::string_view kNameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._*";
  if (text.empty() || text.size() > kHostBytesMax || text.find_first_not_of(kNameBytes) != std::string::npos) {
    return fail(fmt::format("'{}' is neither a host name nor an IP address", text));
  }
  return Host{.type = GNUTLS_SAN_DNSNAME, .bytes = text};
}

}  // namespace

gnutls_digest_algorithm_t digest_of(const Identity& ca) {
  auto key = net::make_gnutls<PublicKey, gnutls_pubkey_init>();
  gnutls_digest_algorithm_t digest = GNUTLS_DIG_SHA256;
  unsigned mandatory = 0;
  if (gnutls_pubkey_import_x509(key.get(), ca.certificate.get(), 0) < 0) return GNUTLS_DIG_SHA256;
  if (gnutls_pubkey_get_preferred_hash_algorithm(key.get(), &digest, &mandatory) < 0) return GNUTLS_DIG_SHA256;
  return digest == GNUTLS_DIG_SHA1 ? GNUTLS_DIG_SHA256 : digest;
}

Result<PrivateKey> make_key() {
  auto key = net::make_gnutls<PrivateKey, gnutls_x509_privkey_init>();
  unsigned bits = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1);
  int status = gnutls_x509_privkey_generate(key.get(), GNUTLS_PK_ECDSA, bits, 0);
  if (status < 0) return fail(fmt::format("cannot make a key: {}", gnutls_strerror(status)));
  return key;
}

Result<> restamp(const Identity& ca, const Certificate& certificate, const PrivateKey* key, std::int64_t days) {
  gnutls_x509_crt_t crt = certificate.get();
  Calls calls;
  stamp(crt, days, calls);
  if (key != nullptr) set_key(crt, *key, calls);
  calls << gnutls_x509_crt_sign2(crt, ca.certificate.get(), ca.key.get(), digest_of(ca), 0);
  return calls.result();
}

Result<Identity> make_ca(std::string_view common_name, std::int64_t days) {
  TRY_ASSIGN(Identity ca, begin(common_name, days));
  gnutls_x509_crt_t crt = ca.certificate.get();
  Calls calls;
  calls << gnutls_x509_crt_set_basic_constraints(crt, 1, 0)
        << gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)
        << gnutls_x509_crt_sign2(crt, crt, ca.key.get(), GNUTLS_DIG_SHA256, 0);
  TRY(calls.result());
  return ca;
}

Result<Identity> make_identity(const Identity& ca, Side side, std::string_view common_name,
                               const std::vector<std::string>& hosts, std::int64_t days) {
  std::vector<Host> names;
  for (const std::string& host : hosts) {
    TRY_ASSIGN(Host name, parse_host(host));
    names.push_back(std::move(name));
  }
  TRY_ASSIGN(Identity made, begin(common_name, days));
  gnutls_x509_crt_t crt = made.certificate.get();
  std::array<unsigned char, 64> ca_key_id;
  std::size_t ca_key_id_bytes = ca_key_id.size();
  const char* purpose = side == Side::kServer ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
  Calls calls;
  for (const Host& name : names) {
    calls << gnutls_x509_crt_set_subject_alt_name(crt, name.type, name.bytes.data(),
                                                  static_cast<unsigned>(name.bytes.size()), GNUTLS_FSAN_APPEND);
  }
  calls << gnutls_x509_crt_set_basic_constraints(crt, 0, -1)
        << gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE)
        << gnutls_x509_crt_set_key_purpose_oid(crt, purpose, 0);
  // A CA from another tool may have no key ID.
  if (gnutls_x509_crt_get_subject_key_id(ca.certificate.get(), ca_key_id.data(), &ca_key_id_bytes, nullptr) >= 0) {
    calls << gnutls_x509_crt_set_authority_key_id(crt, ca_key_id.data(), ca_key_id_bytes);
  }
  calls << gnutls_x509_crt_sign2(crt, ca.certificate.get(), ca.key.get(), digest_of(ca), 0);
  TRY(calls.result());
  return made;
}

Result<std::string> certificate_pem(const Certificate& certificate) {
  return text_of(
      [&](gnutls_datum_t* out) { return gnutls_x509_crt_export2(certificate.get(), GNUTLS_X509_FMT_PEM, out); });
}

Result<std::string> key_pem(const PrivateKey& key) {
  return text_of([&](gnutls_datum_t* out) {
    return gnutls_x509_privkey_export2_pkcs8(key.get(), GNUTLS_X509_FMT_PEM, nullptr, GNUTLS_PKCS_PLAIN, out);
  });
}

}  // namespace blockexport::client
