#include "client/credentials.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <set>

#include "base/file_exposure.h"
#include "base/printable.h"
#include "client/holders.h"
#include "client/tls_files.h"

namespace blockexport::client {
namespace {

// Reads a file; adds a fault when it cannot be read, or is needed but missing.
std::optional<ReadFile> take(const std::string& directory, std::string_view name, bool is_needed, Findings& findings) {
  auto file = read_file(directory, name);
  if (!file) {
    findings.fault(name, file.error().message());
    return std::nullopt;
  }
  if (!*file && is_needed) findings.fault(name, "is missing");
  if (*file && ((*file)->mode & S_IWOTH) != 0 && !name.ends_with("-key.pem")) {
    findings.fault(name, fmt::format("has mode {:04o}, which lets everybody change it; fix it with: chmod o-w {}",
                                     (*file)->mode, shell_word(fmt::format("{}/{}", directory, name))));
  }
  return std::move(*file);
}

void check_dates(const Certificate& certificate, std::string_view name, Findings& findings) {
  std::int64_t now = std::time(nullptr);
  std::int64_t begin = gnutls_x509_crt_get_activation_time(certificate.get());
  std::int64_t end = gnutls_x509_crt_get_expiration_time(certificate.get());
  std::string subject = printable(subject_of(certificate));
  if (now < begin) {
    findings.fault(name, fmt::format("{} is not valid before {}: check the clock", subject, date_text(begin)));
  } else if (now > end) {
    findings.fault(name, fmt::format("{} has expired on {}: renew it", subject, date_text(end)));
  } else if (end - now < kWarningDays * kDaySeconds) {
    findings.warn(name,
                  fmt::format("{} expires on {}, in {} days", subject, date_text(end), (end - now) / kDaySeconds));
  } else {
    findings.fine(name, fmt::format("{}, valid until {}", subject, date_text(end)));
  }
}

void check_authority(const Certificate& certificate, Findings& findings) {
  unsigned critical = 0;
  unsigned is_ca = 0;
  int status = gnutls_x509_crt_get_basic_constraints(certificate.get(), &critical, &is_ca, nullptr);
  std::string subject = printable(subject_of(certificate));
  if (status < 0 || is_ca == 0) {
    findings.fault(kCaCertificate, fmt::format("{} is not the certificate of a CA (basic constraints)", subject));
  }
  unsigned usage = 0;
  status = gnutls_x509_crt_get_key_usage(certificate.get(), &usage, &critical);
  if (status >= 0 && (usage & GNUTLS_KEY_KEY_CERT_SIGN) == 0) {
    findings.fault(kCaCertificate, fmt::format("{} may not sign certificates (key usage)", subject));
  }
}

// Checks that the certificate is meant for this side; "any purpose" and no purpose at all are accepted.
void check_purpose(const Certificate& certificate, Side side, std::string_view name, Findings& findings) {
  unsigned is_ca = 0;
  unsigned critical = 0;
  if (gnutls_x509_crt_get_basic_constraints(certificate.get(), &critical, &is_ca, nullptr) >= 0 && is_ca != 0) {
    findings.fault(name, "is the certificate of a CA, which no peer accepts (basic constraints)");
  }
  unsigned usage = 0;
  if (gnutls_x509_crt_get_key_usage(certificate.get(), &usage, &critical) >= 0 &&
      (usage & GNUTLS_KEY_DIGITAL_SIGNATURE) == 0) {
    std::string text = "may not make digital signatures (key usage)";
    critical != 0 ? findings.fault(name, text) : findings.warn(name, text);
  }
  std::string_view wanted = side == Side::kServer ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
  bool any_critical = false;
  for (unsigned i = 0;; ++i) {
    std::array<char, 128> purpose;
    std::size_t bytes = purpose.size();
    int status = gnutls_x509_crt_get_key_purpose_oid(certificate.get(), i, purpose.data(), &bytes, &critical);
    if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE && i == 0) return;
    if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) break;
    if (status == GNUTLS_E_SHORT_MEMORY_BUFFER) continue;
    if (status < 0) break;
    any_critical = any_critical || critical != 0;
    std::string_view found = purpose.data();
    if (found == wanted || found == GNUTLS_KP_ANY) return;
  }
  std::string text = fmt::format("is not meant for a TLS {} (extended key usage)", name_of(side));
  any_critical ? findings.fault(name, text) : findings.warn(name, text + ": strict peers refuse it");
}

void check_chain(const std::vector<Certificate>& chain, const Trust& trust, Side side, Findings& findings) {
  auto list = net::make_gnutls<TrustList,
                               +[](gnutls_x509_trust_list_t* made) { return gnutls_x509_trust_list_init(made, 0); }>();
  gnutls_datum_t ca = datum(trust.ca_pem);
  gnutls_datum_t revocations = datum(trust.revocations_pem);
  gnutls_x509_trust_list_add_trust_mem(list.get(), &ca, trust.revocations_pem.empty() ? nullptr : &revocations,
                                       GNUTLS_X509_FMT_PEM, 0, 0);
  std::vector<gnutls_x509_crt_t> raw;
  for (const Certificate& one : chain) raw.push_back(one.get());
  unsigned verdict = 0;
  int status = gnutls_x509_trust_list_verify_crt2(list.get(), raw.data(), static_cast<unsigned>(raw.size()), nullptr, 0,
                                                  0, &verdict, nullptr);
  std::string name = file_of(side, "cert");
  if (status < 0) {
    findings.fault(name, fmt::format("cannot be verified: {}", gnutls_strerror(status)));
  } else if (verdict != 0) {
    auto reason = text_of([&](gnutls_datum_t* out) {
      return gnutls_certificate_verification_status_print(verdict, GNUTLS_CRT_X509, out, 0);
    });
    std::string text = reason.value_or("");
    while (text.ends_with(' ')) text.pop_back();
    findings.fault(name, fmt::format("is refused by peers that trust {}: {}", kCaCertificate, text));
  }
}

// True if the key is usable and matches the certificate.
bool check_key(const std::string& pem, const Certificate& certificate, Side side, Findings& findings) {
  std::string name = file_of(side, "key");
  auto key = net::make_gnutls<PrivateKey, gnutls_x509_privkey_init>();
  gnutls_datum_t text = datum(pem);
  int status = gnutls_x509_privkey_import2(key.get(), &text, GNUTLS_X509_FMT_PEM, nullptr, 0);
  if (status == GNUTLS_E_DECRYPTION_FAILED) {
    findings.warn(name, "is encrypted: it needs a secret object, named by passwordid; its content is not checked");
    return false;
  }
  if (status < 0) {
    findings.fault(name, fmt::format("is no private key: {}", gnutls_strerror(status)));
    return false;
  }
  std::array<unsigned char, 32> of_key{};
  std::array<unsigned char, 32> of_certificate{};
  std::size_t key_bytes = of_key.size();
  std::size_t certificate_bytes = of_certificate.size();
  gnutls_x509_privkey_get_key_id(key.get(), GNUTLS_KEYID_USE_SHA256, of_key.data(), &key_bytes);
  gnutls_x509_crt_get_key_id(certificate.get(), GNUTLS_KEYID_USE_SHA256, of_certificate.data(), &certificate_bytes);
  if (of_key != of_certificate) {
    findings.fault(name, fmt::format("is not the key of {}: one of the two was replaced", file_of(side, "cert")));
    return false;
  }
  findings.fine(name, fmt::format("belongs to {}", file_of(side, "cert")));
  return true;
}

void check_revocations(const std::string& pem, Findings& findings) {
  auto list = parse_revocations(pem);
  if (!list) {
    findings.fault(kRevocations, list.error().message());
    return;
  }
  std::int64_t next = gnutls_x509_crl_get_next_update(list->get());
  if (next >= 0 && next < std::time(nullptr)) {
    findings.fault(kRevocations,
                   fmt::format("should have been replaced on {}: every peer is refused", date_text(next)));
  } else {
    findings.fine(kRevocations, fmt::format("{} revoked", gnutls_x509_crl_get_crt_count(list->get())));
  }
}

}  // namespace

OwnCredentials::~OwnCredentials() {
  wipe(key_pem);
}

void check_secret_file(const std::string& directory, std::string_view name, const ReadFile& file, Findings& findings) {
  const std::string path = shell_word(fmt::format("{}/{}", directory, name));
  if ((file.mode & (S_IRWXO | S_IWGRP)) != 0) {
    findings.fault(name,
                   fmt::format("has mode {:04o}, which lets other users access the secret; fix it with: chmod 600 {}",
                               file.mode, path));
  }
  struct stat of_directory;
  if (file.owner == 0 || file.owner == geteuid() || stat(directory.c_str(), &of_directory) != 0) return;
  if (file.owner == of_directory.st_uid) return;
  findings.fault(name, fmt::format("belongs to user {}, who can change the secret; fix it with: chown {} {}",
                                   file.owner, of_directory.st_uid, path));
}

std::optional<Trust> check_trust(const std::string& directory, Findings& findings) {
  auto file = take(directory, kCaCertificate, true, findings);
  if (!file) return std::nullopt;
  auto authorities = parse_certificates(file->text);
  if (!authorities) {
    findings.fault(kCaCertificate, authorities.error().message());
    return std::nullopt;
  }
  Trust trust{.ca_pem = std::move(file->text), .revocations_pem = {}, .authorities = std::move(*authorities)};
  for (const Certificate& authority : trust.authorities) {
    check_dates(authority, kCaCertificate, findings);
    check_authority(authority, findings);
  }
  auto revocations = take(directory, kRevocations, false, findings);
  if (revocations) {
    check_revocations(revocations->text, findings);
    trust.revocations_pem = std::move(revocations->text);
  }
  if (findings.has_fault(kCaCertificate) || findings.has_fault(kRevocations)) return std::nullopt;
  return trust;
}

bool has_own_credentials(const std::string& directory, Side side) {
  struct stat status;
  return stat(fmt::format("{}/{}", directory, file_of(side, "cert")).c_str(), &status) == 0 ||
         stat(fmt::format("{}/{}", directory, file_of(side, "key")).c_str(), &status) == 0;
}

std::optional<OwnCredentials> check_own(const std::string& directory, Side side, const Trust* trust,
                                        Findings& findings) {
  std::string certificate_name = file_of(side, "cert");
  std::string key_name = file_of(side, "key");
  auto certificate_file = take(directory, certificate_name, true, findings);
  auto key_file = take(directory, key_name, true, findings);
  if (key_file) check_secret_file(directory, key_name, *key_file, findings);
  OwnCredentials own;
  if (key_file) own.key_pem = std::move(key_file->text);
  if (!certificate_file) return std::nullopt;
  own.certificate_pem = std::move(certificate_file->text);
  auto chain = parse_certificates(own.certificate_pem);
  if (!chain) {
    findings.fault(certificate_name, chain.error().message());
    return std::nullopt;
  }
  const Certificate& certificate = chain->front();
  check_dates(certificate, certificate_name, findings);
  check_purpose(certificate, side, certificate_name, findings);
  if (side == Side::kServer) {
    std::vector<std::string> names = alternative_names(certificate);
    names.empty() ? findings.warn(certificate_name, "has no alternative names: most clients accept it for no host")
                  : findings.fine(certificate_name, fmt::format("for {}", fmt::join(names, ", ")));
  }
  if (trust != nullptr) check_chain(*chain, *trust, side, findings);
  if (key_file && !check_key(own.key_pem, certificate, side, findings)) wipe(own.key_pem);
  if (findings.has_fault(certificate_name) || findings.has_fault(key_name)) return std::nullopt;
  return own;
}

}  // namespace blockexport::client
