#include "client/authority.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/printable.h"

namespace blockexport::client {
namespace {

using KeyId = std::array<unsigned char, 32>;

Result<PrivateKey> parse_key(const std::string& path, const std::string& pem) {
  auto key = net::make_gnutls<PrivateKey, gnutls_x509_privkey_init>();
  const gnutls_datum_t text = datum(pem);
  const int status = gnutls_x509_privkey_import2(key.get(), &text, GNUTLS_X509_FMT_PEM, nullptr, 0);
  if (status == GNUTLS_E_DECRYPTION_FAILED) {
    return fail(
        Error(fmt::format("'{}' is encrypted", path))
            .with_hint("Decrypt it into a file of your own, for example with certtool --key-info, and name that "
                       "with --ca-key."));
  }
  if (status < 0) return fail(fmt::format("'{}' is no private key: {}", path, gnutls_strerror(status)));
  return key;
}

bool belong_together(const Identity& identity) {
  KeyId of_key{};
  KeyId of_certificate{};
  std::size_t key_bytes = of_key.size();
  std::size_t certificate_bytes = of_certificate.size();
  gnutls_x509_privkey_get_key_id(identity.key.get(), GNUTLS_KEYID_USE_SHA256, of_key.data(), &key_bytes);
  gnutls_x509_crt_get_key_id(identity.certificate.get(), GNUTLS_KEYID_USE_SHA256, of_certificate.data(),
                             &certificate_bytes);
  return of_key == of_certificate;
}

Result<Certificate> read_certificate(const std::string& directory, std::string& pem) {
  TRY_ASSIGN(auto file, read_file(directory, kCaCertificate));
  if (!file) {
    return fail(Error(fmt::format("there is no {} in '{}'", kCaCertificate, directory))
                    .with_hint(fmt::format("Make a CA with: blockexport tls init {}", directory)));
  }
  auto certificates = parse_certificates(file->text);
  if (!certificates) {
    return fail(fmt::format("'{}/{}' {}", directory, kCaCertificate, certificates.error().message()));
  }
  pem = std::move(file->text);
  return std::move(certificates->front());
}

Result<PrivateKey> read_key(const std::string& directory, const std::string& key_path) {
  const std::size_t slash = key_path.rfind('/');
  const std::string in = key_path.empty()             ? directory
                         : slash == std::string::npos ? "."
                                                      : key_path.substr(0, slash + 1);
  const std::string name = key_path.empty() ? std::string(kCaKey) : key_path.substr(slash + 1);
  TRY_ASSIGN(auto file, read_file(in, name));
  const std::string path = key_path.empty() ? fmt::format("{}/{}", directory, kCaKey) : key_path;
  if (!file) {
    return fail(Error(fmt::format("the key of the CA is not there: '{}'", path))
                    .with_hint("Where it was moved to another place, name it with --ca-key FILE."));
  }
  auto key = parse_key(path, file->text);
  wipe(file->text);
  return key;
}

}  // namespace

Result<Authority> load_authority(const std::string& directory, const std::string& key_path) {
  Authority authority;
  TRY_ASSIGN(authority.identity.certificate, read_certificate(directory, authority.certificate_pem));
  TRY_ASSIGN(authority.identity.key, read_key(directory, key_path));
  if (!belong_together(authority.identity)) {
    return fail(fmt::format("the key is not that of '{}/{}'", directory, kCaCertificate));
  }
  authority.end_seconds = gnutls_x509_crt_get_expiration_time(authority.identity.certificate.get());
  if (authority.end_seconds < std::time(nullptr)) {
    return fail(
        Error(fmt::format("the CA '{}' has expired on {}", printable(subject_of(authority.identity.certificate)),
                          date_text(authority.end_seconds)))
            .with_hint("Make another one with blockexport tls init, in another directory."));
  }
  return authority;
}

Result<std::int64_t> days_within(const Authority& authority, std::int64_t days) {
  const std::int64_t left = (authority.end_seconds - std::time(nullptr)) / kDaySeconds;
  if (left >= 1) return std::min(days, left);
  return fail(Error(fmt::format("the CA ends within a day, on {}", date_text(authority.end_seconds)))
                  .with_hint("Make another one with blockexport tls init, in another directory."));
}

bool has_signed(const Authority& authority, const Certificate& certificate) {
  gnutls_x509_crt_t ca = authority.identity.certificate.get();
  unsigned verdict = 0;
  constexpr unsigned kSignatureAlone = GNUTLS_VERIFY_DISABLE_TIME_CHECKS;
  const int status = gnutls_x509_crt_verify(certificate.get(), &ca, 1, kSignatureAlone, &verdict);
  return status >= 0 && verdict == 0;
}

Result<std::string> sign_anew(const Authority& authority, const ReadFile& file, const PrivateKey* key,
                              std::int64_t days) {
  TRY_ASSIGN(auto chain, parse_certificates(file.text));
  const Certificate& certificate = chain.front();
  if (!has_signed(authority, certificate)) {
    return fail(fmt::format("was signed by another CA, '{}'", printable(issuer_of(certificate))));
  }
  TRY(restamp(authority.identity, certificate, key, days));
  std::string text;
  for (const Certificate& one : chain) {
    TRY_ASSIGN(std::string pem, certificate_pem(one));
    text += pem;
  }
  return text;
}

}  // namespace blockexport::client
