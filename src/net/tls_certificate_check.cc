#include "net/tls_certificate_check.h"

#include <fmt/format.h>

#include <array>
#include <ctime>
#include <vector>

#include "net/gnutls_handles.h"

namespace blockexport::net {
namespace {

// A certificate to check, its role, and the file that errors name.
struct Subject {
  gnutls_x509_crt_t certificate;
  std::string_view path;
  bool is_authority;
  TlsEndpoint endpoint;

  std::string_view role() const {
    if (is_authority) return "CA";
    return endpoint == TlsEndpoint::kServer ? "server" : "client";
  }
};

gnutls_datum_t datum_of(std::string_view bytes) {
  return {.data = reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data())),
          .size = static_cast<unsigned>(bytes.size())};
}

std::vector<GnutlsCertificate> import_list(std::string_view pem, unsigned count_max) {
  std::vector<gnutls_x509_crt_t> handles(count_max);
  unsigned count = count_max;
  const gnutls_datum_t data = datum_of(pem);
  const int outcome = gnutls_x509_crt_list_import(handles.data(), &count, &data, GNUTLS_X509_FMT_PEM, 0);
  std::vector<GnutlsCertificate> owners;
  for (int i = 0; i < outcome; ++i) owners.emplace_back(handles[static_cast<std::size_t>(i)]);
  return owners;
}

Result<> check_dates(const Subject& subject) {
  const time_t now = time(nullptr);
  if (gnutls_x509_crt_get_expiration_time(subject.certificate) < now) {
    return fail(fmt::format("The {} certificate {} has expired", subject.role(), subject.path));
  }
  if (gnutls_x509_crt_get_activation_time(subject.certificate) > now) {
    return fail(fmt::format("The {} certificate {} is not yet active", subject.role(), subject.path));
  }
  return {};
}

Result<> check_constraints(const Subject& subject) {
  const int outcome = gnutls_x509_crt_get_basic_constraints(subject.certificate, nullptr, nullptr, nullptr);
  if (outcome == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
    if (!subject.is_authority) return {};
    return fail(fmt::format("The certificate {} is missing basic constraints for a CA", subject.path));
  }
  if (outcome < 0) {
    return fail(
        fmt::format("Unable to query certificate {} basic constraints: {}", subject.path, gnutls_strerror(outcome)));
  }
  if (outcome > 0 && !subject.is_authority) {
    return fail(fmt::format("The certificate {} basic constraints show a CA, but we need one for a {}", subject.path,
                            subject.role()));
  }
  if (outcome == 0 && subject.is_authority) {
    return fail(fmt::format("The certificate {} basic constraints do not show a CA", subject.path));
  }
  return {};
}

// A certificate without a key usage allows every use; a key usage is binding when it is marked as critical.
Result<> check_usage(const Subject& subject) {
  unsigned usage = 0;
  unsigned critical = 0;
  const int outcome = gnutls_x509_crt_get_key_usage(subject.certificate, &usage, &critical);
  if (outcome == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) return {};
  if (outcome < 0) {
    return fail(fmt::format("Unable to query certificate {} key usage: {}", subject.path, gnutls_strerror(outcome)));
  }
  const unsigned wanted = subject.is_authority ? GNUTLS_KEY_KEY_CERT_SIGN : GNUTLS_KEY_DIGITAL_SIGNATURE;
  if ((usage & wanted) != 0 || critical == 0) return {};
  return fail(fmt::format("Certificate {} usage does not permit {}", subject.path,
                          subject.is_authority ? "certificate signing" : "digital signature"));
}

Result<> check_purpose(const Subject& subject) {
  if (subject.is_authority) return {};
  const std::string_view wanted =
      subject.endpoint == TlsEndpoint::kServer ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
  bool any_critical = false;
  for (unsigned index = 0;; ++index) {
    std::array<char, 128> purpose{};
    std::size_t size = purpose.size();
    unsigned critical = 0;
    const int outcome =
        gnutls_x509_crt_get_key_purpose_oid(subject.certificate, index, purpose.data(), &size, &critical);
    if (outcome == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
      if (!any_critical) return {};
      return fail(fmt::format("Certificate {} purpose does not allow use with a TLS {}", subject.path, subject.role()));
    }
    // A purpose whose OID is longer than any that we know.
    if (outcome == GNUTLS_E_SHORT_MEMORY_BUFFER) continue;
    if (outcome < 0) {
      return fail(
          fmt::format("Unable to query certificate {} key purpose: {}", subject.path, gnutls_strerror(outcome)));
    }
    const std::string_view found(purpose.data());
    if (found == wanted || found == GNUTLS_KP_ANY) return {};
    any_critical = any_critical || critical != 0;
  }
}

Result<> check_one(const Subject& subject) {
  TRY(check_dates(subject));
  TRY(check_constraints(subject));
  TRY(check_usage(subject));
  return check_purpose(subject);
}

Result<> check_signed(const OwnCertificates& own, const std::vector<GnutlsCertificate>& chain,
                      const std::vector<GnutlsCertificate>& authorities) {
  std::vector<gnutls_x509_crt_t> ours;
  std::vector<gnutls_x509_crt_t> trusted;
  for (const auto& one : chain) ours.push_back(one.get());
  for (const auto& one : authorities) trusted.push_back(one.get());
  unsigned status = 0;
  const int outcome = gnutls_x509_crt_list_verify(ours.data(), static_cast<unsigned>(ours.size()), trusted.data(),
                                                  static_cast<unsigned>(trusted.size()), nullptr, 0, 0, &status);
  if (outcome < 0) {
    return fail(fmt::format("Unable to verify {} certificate {} against CA certificate {}",
                            own.endpoint == TlsEndpoint::kServer ? "server" : "client", own.path,
                            own.authorities_path));
  }
  if (status == 0) return {};
  return fail(fmt::format("Our own certificate {} failed validation against {}: {}", own.path, own.authorities_path,
                          describe_status(status)));
}

// Imports our certificate followed by its intermediate certificates.
Result<std::vector<GnutlsCertificate>> import_chain(const OwnCertificates& own) {
  auto chain = import_list(own.pem, kChainMax);
  if (!chain.empty()) return chain;
  auto probe = make_gnutls<GnutlsCertificate, gnutls_x509_crt_init>();
  const gnutls_datum_t data = datum_of(own.pem);
  const int outcome = gnutls_x509_crt_import(probe.get(), &data, GNUTLS_X509_FMT_PEM);
  return fail(fmt::format("Unable to import {} certificate {}: {}",
                          own.endpoint == TlsEndpoint::kServer ? "server" : "client", own.path,
                          gnutls_strerror(outcome)));
}

// Ignores faults of authorities that are not needed: a file with several of them keeps an expired one beside its
// successor for a while.
Result<> check_authorities(const OwnCertificates& own, const std::vector<GnutlsCertificate>& chain,
                           std::vector<GnutlsCertificate> authorities) {
  Result<> first_fault;
  std::erase_if(authorities, [&](const GnutlsCertificate& one) {
    Result<> checked = check_one({one.get(), own.authorities_path, true, own.endpoint});
    const bool has_fault = !checked.has_value();
    if (has_fault && first_fault) first_fault = std::move(checked);
    return has_fault;
  });
  if (authorities.empty()) return first_fault;
  if (chain.empty()) return {};
  Result<> verified = check_signed(own, chain, authorities);
  return verified || first_fault ? std::move(verified) : std::move(first_fault);
}

}  // namespace

Result<> check_certificates(const OwnCertificates& own) {
  std::vector<GnutlsCertificate> chain;
  if (!own.path.empty()) {
    TRY_ASSIGN(chain, import_chain(own));
  }
  auto authorities = import_list(own.authorities_pem, kAuthoritiesMax);
  if (authorities.empty()) return fail(fmt::format("Unable to import CA certificate list {}", own.authorities_path));
  if (!chain.empty()) {
    TRY(check_one({chain.front().get(), own.path, false, own.endpoint}));
  }
  return check_authorities(own, chain, std::move(authorities));
}

std::vector<TlsExpiry> expiries_of(const OwnCertificates& own) {
  std::vector<TlsExpiry> found;
  const std::pair<std::string_view, std::string_view> files[] = {{own.path, own.pem},
                                                                 {own.authorities_path, own.authorities_pem}};
  for (const auto& [path, pem] : files) {
    if (path.empty()) continue;
    auto certificates = import_list(pem, kAuthoritiesMax);
    if (certificates.empty()) continue;
    const time_t end = gnutls_x509_crt_get_expiration_time(certificates.front().get());
    // The certificate does not expire.
    if (end == static_cast<time_t>(-1)) continue;
    found.push_back({.file = std::string(path), .unix_seconds = end});
  }
  return found;
}

std::string describe_status(unsigned status) {
  if ((status & GNUTLS_CERT_REVOKED) != 0) return "The certificate has been revoked";
  if ((status & GNUTLS_CERT_EXPIRED) != 0) return "The certificate has expired";
  if ((status & GNUTLS_CERT_NOT_ACTIVATED) != 0) return "The certificate is not yet activated";
  if ((status & GNUTLS_CERT_INSECURE_ALGORITHM) != 0) return "The certificate uses an insecure algorithm";
  if ((status & GNUTLS_CERT_SIGNER_NOT_FOUND) != 0) return "The certificate hasn't got a known issuer";
  if ((status & GNUTLS_CERT_PURPOSE_MISMATCH) != 0) return "The certificate is not made for this purpose";
  if ((status & GNUTLS_CERT_UNEXPECTED_OWNER) != 0) return "The certificate does not match the host's name";
  return "The certificate is not trusted";
}

}  // namespace blockexport::net
