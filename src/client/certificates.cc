#include "client/certificates.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>
#include <ctime>
#include <span>

#include "base/printable.h"

namespace blockexport::client {

std::string_view name_of(Side side) {
  return side == Side::kServer ? "server" : "client";
}

Result<std::vector<Certificate>> parse_certificates(const std::string& pem) {
  gnutls_datum_t text = datum(pem);
  gnutls_x509_crt_t* list = nullptr;
  unsigned count = 0;
  int status = gnutls_x509_crt_list_import2(&list, &count, &text, GNUTLS_X509_FMT_PEM, 0);
  if (status < 0) return fail(fmt::format("is no certificate: {}", gnutls_strerror(status)));
  std::vector<Certificate> certificates;
  for (gnutls_x509_crt_t one : std::span(list, count)) certificates.emplace_back(one);
  gnutls_free(list);
  if (certificates.size() > kCertificatesMax)
    return fail(fmt::format("holds more than {} certificates", kCertificatesMax));
  return certificates;
}

std::string subject_of(const Certificate& certificate) {
  auto name = text_of([&](gnutls_datum_t* out) { return gnutls_x509_crt_get_dn2(certificate.get(), out); });
  return name ? *name : std::string();
}

std::string issuer_of(const Certificate& certificate) {
  auto name = text_of([&](gnutls_datum_t* out) { return gnutls_x509_crt_get_issuer_dn2(certificate.get(), out); });
  return name ? *name : std::string();
}

std::vector<std::string> alternative_names(const Certificate& certificate) {
  std::vector<std::string> names;
  for (unsigned i = 0;; ++i) {
    std::array<char, 512> value;
    std::size_t bytes = value.size();
    int type = gnutls_x509_crt_get_subject_alt_name(certificate.get(), i, value.data(), &bytes, nullptr);
    if (type == GNUTLS_E_SHORT_MEMORY_BUFFER) continue;
    if (type < 0) return names;
    if (type == GNUTLS_SAN_DNSNAME) {
      names.push_back("DNS:" + printable({value.data(), bytes}, value.size()));
    } else if (type == GNUTLS_SAN_IPADDRESS && (bytes == 4 || bytes == 16)) {
      std::array<char, INET6_ADDRSTRLEN> text;
      inet_ntop(bytes == 4 ? AF_INET : AF_INET6, value.data(), text.data(), text.size());
      names.push_back(fmt::format("IP:{}", text.data()));
    } else {
      names.push_back("another kind of name");
    }
  }
}

std::string fingerprint_of(const Certificate& certificate) {
  std::array<unsigned char, 32> hash;
  std::size_t bytes = hash.size();
  if (gnutls_x509_crt_get_fingerprint(certificate.get(), GNUTLS_DIG_SHA256, hash.data(), &bytes) < 0) return {};
  return fmt::format("{:02X}", fmt::join(std::span(hash).first(bytes), ":"));
}

std::string date_text(std::int64_t seconds) {
  std::time_t time = seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  return fmt::format("{:04}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

}  // namespace blockexport::client
